"""What the checks and hooks of an allocation found: the last results, as its node remembers them."""

from __future__ import annotations

from starlette.responses import Response

from hivemind.api.collection import home
from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.remote.places import of_allocation
from hivemind.api.views import find
from hivemind.errors import NotFound
from hivemind.model.allocation import ALLOCATION, Allocation
from hivemind.model.answers import CheckList


def check_endpoints() -> list[Endpoint]:
    return [
        Endpoint(
            "GET",
            f"{home(ALLOCATION)}/{{name}}/checks",
            "allocations.checks",
            "What its checks and hooks found last, companions' too, oldest first. Forgotten when the daemon of its "
            "node starts anew.",
            _checks,
            (Answer(200, "The results.", (CheckList,)),),
            errors=(NotFound,),
            at=of_allocation,
        )
    ]


async def _checks(call: Call) -> Response:
    allocation: Allocation = await find(call.backend, "Allocation", call.project, call.params["name"])
    return reply(CheckList(items=call.backend.checks(allocation.id)))
