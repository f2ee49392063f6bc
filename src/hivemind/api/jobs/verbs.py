"""What can be done with jobs, runs, queues and circuits beyond putting and deleting."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Literal

from msgspec import Meta
from starlette.responses import Response

from hivemind.api.backend import Backend
from hivemind.api.collection import WriteQuery, planned
from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.jobs.documents import (
    circuit_document,
    job_document,
    run_document,
    waiting_approvals,
)
from hivemind.api.jobs.lookup import find_run, find_task, runs_of
from hivemind.errors import Conflict, Invalid, NotFound, Stale, TooLarge, WrongMedia
from hivemind.jobs.inputs import check_value
from hivemind.jobs.schedule import between
from hivemind.model.answers import Plan
from hivemind.model.base import Spec, encode
from hivemind.model.circuit import CircuitDocument
from hivemind.model.job import Ident, Input, Job, JobDocument, Priority
from hivemind.model.job_answers import BackfillDocument, QueueDocument
from hivemind.model.run import Run, RunDocument, input_context
from hivemind.security.sealing import NONCE_BYTES
from hivemind.state.jobs.runs import find_job
from hivemind.state.jobs.schedules import TICKS, chosen
from hivemind.state.operations import (
    Approve,
    Backfill,
    CancelRun,
    ForceCircuit,
    Operation,
    PauseJob,
    PauseQueue,
    PauseRun,
    RetryRun,
    StartRun,
)

_Reason = Annotated[str, Meta(max_length=1000)]
_Paths = Annotated[tuple[str, ...], Meta(max_length=1000)]
_Time = Annotated[int, Meta(ge=0, description="milliseconds since 1970")]


class StartRequest(Spec, frozen=True, kw_only=True):
    """How a run is started. With an `Idempotency-Key` (or `key`) the same one gives the same run again."""

    inputs: dict[Ident, Any] = {}
    priority: Priority | None = None
    key: Annotated[str, Meta(max_length=200)] = ""


class PauseRequest(Spec, frozen=True, kw_only=True):
    schedules: _Paths = ()
    """Only these; none: the whole job."""


class BackfillRequest(Spec, frozen=True, kw_only=True):
    """All of a schedule's times from `since` up to, but without, `until`."""

    schedule: Annotated[str, Meta(max_length=253)] = ""
    since: _Time
    until: _Time
    newest_first: bool = False


class CancelRequest(Spec, frozen=True, kw_only=True):
    paths: _Paths = ()
    """Only these tasks and groups; none: the whole run."""
    reason: _Reason = ""
    kill: bool = False
    """Without the grace period."""


class RetryRequest(Spec, frozen=True, kw_only=True):
    paths: _Paths = ()
    """From these tasks on; none: what failed, was canceled, or was skipped for that."""


class ApproveRequest(Spec, frozen=True, kw_only=True):
    path: Annotated[str, Meta(max_length=1000)] = ""
    """Of the approval; may be left out while only one waits."""
    approved: bool = True
    comment: _Reason = ""


class QueueRequest(Spec, frozen=True, kw_only=True):
    """The concurrency key; empty: everything of the project."""

    key: Annotated[str, Meta(max_length=1000)] = ""


class ForceRequest(Spec, frozen=True, kw_only=True):
    reason: _Reason = ""


class Nothing(Spec, frozen=True, kw_only=True):
    """An empty object."""


# -- jobs --------------------------------------------------------------------------------------------------------


async def _start(call: Call) -> Response:
    job = _job(call)
    plain, sealed = _inputs(call, job, call.state.job_spec(job).inputs)
    key = call.body.key or call.connection.headers.get("idempotency-key", "")
    operation = StartRun(
        project=job.project, job=job.name, inputs=plain, sealed=sealed, priority=call.body.priority, key=key
    )
    if call.query.dry_run:
        return await planned(call, operation)
    outcome = await call.submit(operation)
    return _run_reply(call.backend, find_run(call.state, job.project, outcome.id), 201)


def _inputs(call: Call, job: Job, declared: dict[str, Input]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Those that may be read, and secret ones sealed: neither ledger nor state ever holds what these say."""
    plain: dict[str, Any] = {}
    sealed: dict[str, bytes] = {}
    for name, value in call.body.inputs.items():
        one = declared.get(name)
        if one is None or not one.secret:
            plain[name] = value
            continue
        check_value(name, value, one)
        text = value.encode() if isinstance(value, str) else encode(value)
        context = input_context(job.project, job.name, name)
        sealed[name] = call.backend.vault.seal(text, context, os.urandom(NONCE_BYTES))
    return plain, sealed


def _pause_job(call: Call, paused: bool) -> Operation:
    return PauseJob(
        project=call.params["project"], name=_job(call).name, paused=paused, schedules=call.body.schedules
    )


async def _backfill(call: Call) -> Response:
    job, body = _job(call), call.body
    if body.until <= body.since:
        raise Invalid("`until` is not after `since`", hint="exchange them")
    operation = Backfill(
        project=job.project, job=job.name, schedule=body.schedule, since=body.since, until=body.until,
        newest_first=body.newest_first,
    )  # fmt: skip
    name, times = _times(call, job)
    if not call.query.dry_run:
        await call.submit(operation)
    return reply(BackfillDocument(job=job.name, schedule=name, times=times))


def _times(call: Call, job: Job) -> tuple[str, tuple[int, ...]]:
    """The schedule that is meant and its times; those of which there are runs are left out."""
    body = call.body
    name, schedule = chosen(call.state, job, body.schedule)
    there = {
        run.start.time
        for run in runs_of(call.state, job.id)
        if run.start.kind in TICKS and run.start.source == name
    }
    times = [time for time in between(schedule, body.since, body.until) if time not in there]
    return name, tuple(reversed(times) if body.newest_first else times)


async def _job_verb(call: Call, wish: Callable[[Call], Operation]) -> Response:
    operation = wish(call)
    if call.query.dry_run:
        return await planned(call, operation)
    await call.submit(operation)
    job = _job(call)
    return reply(job_document(call.backend, job), version=job.version)


def _job(call: Call) -> Job:
    return find_job(call.state, call.params["project"], call.params["name"])


# -- runs --------------------------------------------------------------------------------------------------------


def _cancel(call: Call, run: Run) -> Operation:
    body = call.body
    for path in body.paths:
        find_task(call.state, run, path)
    return CancelRun(project=run.project, run=run.id, paths=body.paths, reason=body.reason, kill=body.kill)


def _pause_run(call: Call, run: Run, paused: bool) -> Operation:
    return PauseRun(project=run.project, run=run.id, paused=paused)


def _retry(call: Call, run: Run) -> Operation:
    for path in call.body.paths:
        find_task(call.state, run, path)
    return RetryRun(project=run.project, run=run.id, paths=call.body.paths)


def _approve(call: Call, run: Run) -> Operation:
    body = call.body
    path = find_task(call.state, run, body.path).path if body.path else _asked(call, run)
    return Approve(project=run.project, run=run.id, path=path, approved=body.approved, comment=body.comment)


def _asked(call: Call, run: Run) -> str:
    """The approval that waits."""
    waiting = waiting_approvals(call.state, run)
    if not waiting:
        raise Conflict(
            f"nothing of {run.name} waits for an approval", hint=f"see: hivemind job status {run.name}"
        )
    if len(waiting) > 1:
        raise Invalid(f"{len(waiting)} approvals of {run.name} wait", hint=f"name one: {', '.join(waiting)}")
    return waiting[0]


async def _run_verb(call: Call, wish: Callable[[Call, Run], Operation]) -> Response:
    run = find_run(call.state, call.params["project"], call.params["name"])
    operation = wish(call, run)
    if call.query.dry_run:
        return await planned(call, operation)
    await call.submit(operation)
    return _run_reply(call.backend, call.state.runs[run.id])


def _run_reply(backend: Backend, run: Run, status: int = 200) -> Response:
    return reply(run_document(backend, run), status)


# -- queues and circuits -----------------------------------------------------------------------------------------


async def _pause_queue(call: Call, paused: bool) -> Response:
    project, key = call.params["project"], call.body.key
    operation = PauseQueue(project=project, key=key, paused=paused)
    if call.query.dry_run:
        return await planned(call, operation)
    await call.submit(operation)
    there = call.state.queues.get(f"{project}/{key}")
    return reply(
        QueueDocument(
            key=key, paused=there is not None, by=there.by if there else "", since=there.since if there else 0
        )
    )


async def _force(call: Call, wanted: Literal["open", "closed", "auto"]) -> Response:
    project, name = call.params["project"], call.params["name"]
    operation = ForceCircuit(project=project, name=name, state=wanted, reason=call.body.reason)
    if call.query.dry_run:
        return await planned(call, operation)
    await call.submit(operation)
    there = call.state.circuits.get(f"{project}/{name}")
    if there is None:
        raise NotFound(f"there is no circuit {name[:200]!r} any more", hint="hivemind circuit ls shows them")
    return reply(circuit_document(call.backend, there))


Handler = Callable[[Call], Awaitable[Response]]


def job_verb_endpoints() -> list[Endpoint]:
    jobs = "/v1/projects/{project}/jobs/{name}"
    runs = "/v1/projects/{project}/runs/{name}"
    queue = "/v1/projects/{project}/queue"
    circuits = "/v1/projects/{project}/circuits/{name}"
    job = ("The job; with `dry_run`, the plan.", (JobDocument, Plan))
    run = ("The run; with `dry_run`, the plan.", (RunDocument, Plan))
    paused = ("The queue; with `dry_run`, the plan.", (QueueDocument, Plan))
    circuit = ("The circuit; with `dry_run`, the plan.", (CircuitDocument, Plan))
    table: list[tuple[str, str, str, Handler, Any, tuple[str, tuple[Any, ...]]]] = [
        (f"{jobs}/pause", "jobs.pause", "Let nothing but people start it; or pause some of its schedules.",
         partial(_job_verb, wish=partial(_pause_job, paused=True)), PauseRequest, job),
        (f"{jobs}/resume", "jobs.resume", "Let it be started again by what starts it.",
         partial(_job_verb, wish=partial(_pause_job, paused=False)), PauseRequest, job),
        (f"{jobs}/backfill", "jobs.backfill", "Start a run for each time of a schedule in a range; with `dry_run`,"
         " only tell the times.", _backfill, BackfillRequest,
         ("The times for which runs are made; those that ran already are left out.", (BackfillDocument,))),
        (f"{runs}/cancel", "runs.cancel", "Cancel a run, or some tasks of it; `finally` still runs.",
         partial(_run_verb, wish=_cancel), CancelRequest, run),
        (f"{runs}/pause", "runs.pause", "What runs goes on, nothing further begins.",
         partial(_run_verb, wish=partial(_pause_run, paused=True)), Nothing, run),
        (f"{runs}/unpause", "runs.unpause", "Go on with a paused run.",
         partial(_run_verb, wish=partial(_pause_run, paused=False)), Nothing, run),
        (f"{runs}/retry", "runs.retry", "Go on with an ended run from what failed; outputs of all else are kept.",
         partial(_run_verb, wish=_retry), RetryRequest, run),
        (f"{runs}/approve", "runs.approve", "Say yes or no to an approval that waits.",
         partial(_run_verb, wish=_approve), ApproveRequest, run),
        (f"{queue}/pause", "queue.pause", "Let nothing of a concurrency key, or of the project, start.",
         partial(_pause_queue, paused=True), QueueRequest, paused),
        (f"{queue}/resume", "queue.resume", "Let it start again.",
         partial(_pause_queue, paused=False), QueueRequest, paused),
        (f"{circuits}/open", "circuits.open", "Let all that needs it wait, until it is closed or left to itself.",
         partial(_force, wanted="open"), ForceRequest, circuit),
        (f"{circuits}/close", "circuits.close", "Let all that needs it try, whatever fails.",
         partial(_force, wanted="closed"), ForceRequest, circuit),
        (f"{circuits}/auto", "circuits.auto", "Leave it to itself again.",
         partial(_force, wanted="auto"), ForceRequest, circuit),
    ]  # fmt: skip
    start = Endpoint(
        "POST", f"{jobs}/run", "jobs.run", "Start a run. A repeated `Idempotency-Key` starts no second one.", _start,
        (Answer(201, "The run.", (RunDocument,)), Answer(200, "With `dry_run`: the plan.", (Plan,))),
        query=WriteQuery, body=StartRequest, errors=(NotFound, Conflict, TooLarge, WrongMedia),
    )  # fmt: skip
    return [
        start,
        *(
            Endpoint(
                "POST", path, name, text, handler, (Answer(200, *answer),), query=WriteQuery, body=body,
                errors=(NotFound, Conflict, Stale, TooLarge, WrongMedia),
            )
            for path, name, text, handler, body, answer in table
        ),
    ]  # fmt: skip
