"""Events start jobs: those that are raised from outside, and those that are changes of state itself.

A run is named by its trigger and the key of the event, so the same event starts it once, however often it is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from hivemind.errors import Forbidden, HivemindError, Invalid, NotFound, TooLarge
from hivemind.jobs import expression
from hivemind.model.allocation import Allocation, AllocationState
from hivemind.model.app import App
from hivemind.model.base import encode
from hivemind.model.deployment import Deployment, DeploymentState
from hivemind.model.job import ADDRESSED, AppTrigger, EventTrigger, FileTrigger, Job, JobTrigger, Webhook
from hivemind.model.principal import Principal
from hivemind.model.run import Run, Start
from hivemind.state.jobs.runs import find_job, start_run
from hivemind.state.jobs.triggers import Kind
from hivemind.state.operations import RaiseEvent
from hivemind.state.state import Outcome, State
from hivemind.state.tables import Change

Trigger = Webhook | EventTrigger | FileTrigger | JobTrigger | AppTrigger

PAYLOAD_LIMIT = 64 * 1024
"""Bytes of an event as JSON: it is kept with each run that it starts."""
KEY_LIMIT = 256
CHAIN_LIMIT = 25
"""Jobs that start each other in a circle would never end."""
STARTS_LIMIT = 2000
"""Runs that changes of one batch may start: of those that end at once each might start ten others, and so on."""
_NOTED = 1000
_TOLD_BY = frozenset({"runs", "deployments", "allocations", "apps"})


class _Match(msgspec.Struct, frozen=True):
    """A trigger that something happened to concern."""

    job: Job
    number: int
    """Of the trigger, among those of its kind."""
    trigger: Trigger


class _Happening(msgspec.Struct, frozen=True):
    """Something that happened in state itself."""

    project: str
    kind: Kind
    source: str
    """Name of the job or app."""
    what: str
    """Of `JobTrigger.states` or `AppTrigger.events`."""
    key: str
    event: dict[str, Any]
    depth: int = 0


# -- from outside --------------------------------------------------------------------------------------------


def raise_event(state: State, operation: RaiseEvent, who: Principal) -> Outcome:
    """Starts a run of each job with a trigger that matches. `Outcome.id` lists their ids, separated by commas; its
    message says what was not started, and why."""
    _check(operation, who)
    key = operation.key or f"{state.sequence}.{len(state.tables.log)}"
    matches = _addressed(state, operation) if operation.job else _subscribed(state, operation)
    started, problems = [], []
    for match in matches:
        try:
            run = _start(state, match, operation.payload, key)
        except HivemindError as error:
            if operation.job:
                raise
            problems.append(f"{match.job.name} was not started: {error.message}")
        else:
            started += [run.id] if run else []
    return Outcome(id=",".join(started), message="; ".join(problems))


def _check(operation: RaiseEvent, who: Principal) -> None:
    by_node = who.kind == "node"
    if by_node != (operation.type in ADDRESSED):
        raise Forbidden(
            f"an event of the type {operation.type!r} is not for {'a node' if by_node else 'people'} to raise",
            hint="webhook and file are raised by nodes, every other type by people",
        )
    if by_node and not operation.job:
        raise Invalid(f"an event of the type {operation.type!r} is for one job")
    if len(operation.key) > KEY_LIMIT:
        raise TooLarge(f"the key of an event has at most {KEY_LIMIT} characters")
    if len(encode(operation.payload)) > PAYLOAD_LIMIT:
        raise TooLarge(
            f"the payload of an event has at most {PAYLOAD_LIMIT // 1024} KiB",
            hint="put the data where the job finds it, and its address into the event",
        )


def _addressed(state: State, operation: RaiseEvent) -> list[_Match]:
    job = find_job(state, operation.project, operation.job)
    if job.paused:
        return []
    triggers = state.job_spec(job).triggers
    kind: Sequence[Webhook | FileTrigger] = triggers.webhook if operation.type == "webhook" else triggers.file
    found = [_Match(job, n, each) for n, each in enumerate(kind) if source_of(each) == operation.source]
    if not found:
        raise NotFound(f"job {job.name!r} has no {operation.type} {operation.source!r}")
    return found


def source_of(trigger: Trigger) -> str:
    """What names it, whichever definition it is of: `Start.source`, and `RaiseEvent.source` of webhooks and files."""
    if isinstance(trigger, FileTrigger):
        where = trigger.volume or trigger.node
        return f"{where}:{trigger.path}" if where else trigger.path
    return trigger.type if isinstance(trigger, EventTrigger) else trigger.name


def _subscribed(state: State, operation: RaiseEvent) -> list[_Match]:
    return [
        _Match(job, n, trigger)
        for job in state.work.triggers.waiting(state, (operation.project, "event", operation.type))
        for n, trigger in enumerate(state.job_spec(job).triggers.event)
        if trigger.type == operation.type and not job.paused
    ]


# -- from state's own changes --------------------------------------------------------------------------------


def fire(state: State, since: int) -> int:
    """Starts what waits for runs that ended and for what happened to apps, in the changes of this batch after the
    first `since`. Returns how many changes it has seen: `since` of the next call in the same batch (0 begins)."""
    seen = len(state.changes)
    for change in state.changes[since:seen]:
        if change.table not in _TOLD_BY:
            continue
        for happening in _happenings(state, change):
            _tell(state, happening)
    return seen


def _tell(state: State, happening: _Happening) -> None:
    """Who cannot be started is noted: nobody asked, who could be answered."""
    if happening.depth > CHAIN_LIMIT:
        return
    for job in state.work.triggers.waiting(state, (happening.project, happening.kind, happening.source)):
        for match in _concerned(state, job, happening):
            if state.work.fired >= STARTS_LIMIT:
                _note_unstarted(state, job, f"{STARTS_LIMIT:,} runs were started at once by what happened")
                return
            state.work.fired += 1
            try:
                _start(state, match, happening.event, happening.key, happening.depth)
            except HivemindError as error:
                _note_unstarted(state, job, error.message)


def _note_unstarted(state: State, job: Job, why: str) -> None:
    if len(state.work.unstarted) < _NOTED:
        state.work.unstarted.append((job.project, job.name, why))


def _concerned(state: State, job: Job, happening: _Happening) -> Iterator[_Match]:
    if job.paused:
        return
    triggers = state.job_spec(job).triggers
    if happening.kind == "job":
        for n, after in enumerate(triggers.job):
            if after.name == happening.source and happening.what in after.states:
                yield _Match(job, n, after)
    else:
        for n, app in enumerate(triggers.app):
            if app.name == happening.source and happening.what in app.events:
                yield _Match(job, n, app)


def _happenings(state: State, change: Change) -> Iterator[_Happening]:
    old, new = change.old, change.new
    if change.table == "runs" and new and old and new.state.ended and not old.state.ended:
        yield _run_ended(state, new)
    elif change.table == "deployments" and new and old and old.state is DeploymentState.RUNNING:
        yield from _deployment_over(new)
    elif change.table == "allocations" and new and new.app and new.state is AllocationState.FAILED:
        if old is None or old.state is not AllocationState.FAILED:
            yield _replica_failed(new)
    elif change.table == "apps" and new and new.deleted and not (old and old.deleted):
        yield _app_removed(new)


def _run_ended(state: State, run: Run) -> _Happening:
    return _Happening(
        project=run.project,
        kind="job",
        source=run.job_name,
        what=run.state.value,
        key=f"{run.id}.{run.ended}",
        event={
            "job": run.job_name,
            "run": run.name,
            "state": run.state.value,
            "reason": run.reason,
            "outputs": run.outputs,
        },
        depth=_chain(state, run) + 1,
    )


def _chain(state: State, run: Run) -> int:
    """How many runs stand behind it; a run that another waits for stands where that one does."""
    while (waiting := state.task_runs.get(run.parent)) and (above := state.runs.get(waiting.run)):
        run = above
    return run.start.depth


def _deployment_over(deployment: Deployment) -> Iterator[_Happening]:
    what = {DeploymentState.SUCCEEDED: "deployed", DeploymentState.FAILED: "deployment-failed"}.get(
        deployment.state
    )
    if what:
        yield _of_app(
            deployment, deployment.app_name, what, deployment.id, deployment.target, deployment.reason
        )


def _replica_failed(allocation: Allocation) -> _Happening:
    return _of_app(
        allocation,
        allocation.app_name,
        "replica-failed",
        allocation.id,
        allocation.revision,
        allocation.reason,
    )


def _app_removed(app: App) -> _Happening:
    return _of_app(app, app.name, "removed", app.id, app.revision, "")


def _of_app(
    thing: Deployment | Allocation | App, app: str, what: str, key: str, revision: int, reason: str
) -> _Happening:
    return _Happening(
        project=thing.project,
        kind="app",
        source=app,
        what=what,
        key=f"{what}.{key}",
        event={"app": app, "event": what, "revision": revision, "reason": reason},
    )


# -- starting ------------------------------------------------------------------------------------------------


def _start(state: State, match: _Match, event: Any, key: str, depth: int = 0) -> Run | None:
    """The run, there already or not; None when the trigger's condition does not hold."""
    scope = {"event": event}
    trigger = match.trigger
    if trigger.if_ and not expression.truth(trigger.if_, scope):
        return None
    inputs = {name: expression.render(template, scope) for name, template in trigger.inputs.items()}
    start = Start(
        kind=_KINDS[type(trigger)], source=source_of(trigger), time=state.time, event=event, depth=depth
    )
    return start_run(state, match.job, start, inputs, f"{match.number}/{key}")


_KINDS: dict[type[Trigger], Literal["webhook", "event", "file", "job", "app"]] = {
    Webhook: "webhook",
    EventTrigger: "event",
    FileTrigger: "file",
    JobTrigger: "job",
    AppTrigger: "app",
}
