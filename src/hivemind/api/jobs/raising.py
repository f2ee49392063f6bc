"""Events of people's own: posted to a project, they start the jobs that wait for them."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from starlette.responses import Response

from hivemind.api.collection import WriteQuery, planned
from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.errors import TooLarge, WrongMedia
from hivemind.model.answers import Plan
from hivemind.model.base import Spec
from hivemind.model.job_answers import RaisedDocument, StartedRun
from hivemind.model.principal import Role
from hivemind.state.operations import RaiseEvent
from hivemind.state.state import Outcome, State


class EventRequest(Spec, frozen=True, kw_only=True):
    """An event. With a `key` (or an `Idempotency-Key`) the same one starts nothing twice."""

    type: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,200}\Z")]
    payload: Any = None
    key: Annotated[str, Meta(max_length=200)] = ""


async def _raise(call: Call) -> Response:
    body = call.body
    key = body.key or call.connection.headers.get("idempotency-key", "")
    operation = RaiseEvent(project=call.params["project"], type=body.type, payload=body.payload, key=key)
    if call.query.dry_run:
        return await planned(call, operation)
    return reply(started(call.state, await call.submit(operation)))


def started(state: State, outcome: Outcome) -> RaisedDocument:
    """What an event has started, by its outcome."""
    runs = [state.runs[id] for id in outcome.id.split(",") if id in state.runs]
    return RaisedDocument(
        runs=tuple(StartedRun(job=run.job_name, name=run.name, id=run.id) for run in runs),
        problems=tuple(outcome.message.split("; ")) if outcome.message else (),
    )


def raising_endpoints() -> list[Endpoint]:
    return [
        Endpoint(
            "POST", "/v1/projects/{project}/job-events", "job-events.raise",
            "Raise an event: every job of the project with a trigger for it starts.", _raise,
            (Answer(200, "The runs that it started, or had started before; with `dry_run`, the plan.",
                    (RaisedDocument, Plan)),),
            query=WriteQuery, body=EventRequest, errors=(TooLarge, WrongMedia), role=Role.OPERATOR,
        )
    ]  # fmt: skip
