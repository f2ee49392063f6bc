"""Changing single keys of a config or secret, the others kept."""

from __future__ import annotations

import functools

from starlette.responses import Response

from hivemind.api.collection import WriteQuery, one, planned
from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.intake import if_match
from hivemind.api.sealed import pieces
from hivemind.api.views import VIEWS, find
from hivemind.errors import Conflict, NotFound, Stale, TooLarge, WrongMedia
from hivemind.model.answers import Plan
from hivemind.model.base import Spec
from hivemind.model.config import CONFIG
from hivemind.model.content import Bundle, joined
from hivemind.model.mount import Key
from hivemind.model.resource import Resource
from hivemind.model.secret import SECRET
from hivemind.state.operations import PutContent


class Keys(Spec, frozen=True, kw_only=True):
    data: dict[Key, str] = {}
    binary: dict[Key, bytes] = {}
    """What is not text, in base64."""
    remove: tuple[str, ...] = ()


def content_endpoints() -> list[Endpoint]:
    return [
        Endpoint(
            "POST",
            f"{one(resource)}/set",
            f"{resource.plural}.set",
            f"Set or remove single keys of a {resource.singular}; the others stay.",
            functools.partial(_set, resource=resource),
            (
                Answer(
                    200,
                    f"The {resource.singular}; with `dry_run`, the plan.",
                    (resource.document, Plan),
                    etag=True,
                ),
            ),
            query=WriteQuery,
            body=Keys,
            headers=("If-Match",),
            errors=(NotFound, Conflict, Stale, TooLarge, WrongMedia),
        )
        for resource in (CONFIG, SECRET)
    ]


async def _set(call: Call, resource: Resource) -> Response:
    there: Bundle = await find(call.backend, resource.kind, call.project, call.params["name"])
    body = call.body
    operation = PutContent(
        kind=there.kind,
        project=there.project,
        name=there.name,
        data=pieces(call, there.kind, there.name, joined(body.data, body.binary)),
        keep=True,
        remove=body.remove,
        if_version=if_match(call.connection),
    )
    if call.query.dry_run:
        return await planned(call, operation)
    await call.submit(operation)
    bundle: Bundle = await find(call.backend, resource.kind, call.project, there.name)
    return reply(VIEWS[resource.kind].document(call.backend, bundle), version=bundle.version)
