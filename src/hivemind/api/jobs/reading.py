"""What can be read of jobs and runs beyond their documents."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

from msgspec import Meta
from starlette.responses import Response

from hivemind.api.collection import ListQuery, cursor_key, encode_cursor, list_documents
from hivemind.api.endpoint import Answer, Call, Endpoint, Place, reply
from hivemind.api.jobs.documents import (
    definition_document,
    path_key,
    reason_of,
    schedules,
    task_document,
)
from hivemind.api.jobs.logs import RunLogsQuery, follow_logs, read_logs
from hivemind.api.jobs.lookup import (
    definitions_of,
    find_run,
    find_task,
    runs_of,
    tasks_of,
)
from hivemind.api.jobs.transitions import Order
from hivemind.api.jobs.watch import watch
from hivemind.api.remote.others import Others
from hivemind.api.streams import Streamed
from hivemind.api.tars import TAR
from hivemind.errors import Invalid, NotFound
from hivemind.jobs.plan import Plan
from hivemind.jobs.queue import rank
from hivemind.model.answers import STREAM_FORMAT, LogEntry, Page
from hivemind.model.base import Spec
from hivemind.model.job_answers import (
    ArtifactEntry,
    ArtifactList,
    DefinitionDocument,
    HistoryEntry,
    ScheduleDocument,
    Waiting,
)
from hivemind.model.run import RUN, Run, RunDocument, RunState, TaskRun, TaskRunDocument, TaskState
from hivemind.state.jobs.dispatch import behind
from hivemind.state.jobs.explain import why_run
from hivemind.state.jobs.lane import lane_of
from hivemind.state.jobs.runs import find_job
from hivemind.state.state import State

_STATES = {str(state) for state in TaskState}


class RunsQuery(ListQuery, frozen=True, kw_only=True):
    job: Annotated[str, Meta(max_length=253, description="only runs of this job")] = ""
    state: tuple[str, ...] = ()


class TasksQuery(Spec, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1000, description="how many at most")] = 100
    cursor: Annotated[str, Meta(max_length=2000, description="`next` of the page before")] = ""
    state: tuple[str, ...] = ()
    path: Annotated[str, Meta(max_length=1000, description="only this task, group or fan-out")] = ""


class HistoryQuery(Spec, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1000, description="how many at most")] = 100
    cursor: Annotated[str, Meta(max_length=2000, description="`next` of the page before")] = ""
    path: Annotated[str, Meta(max_length=1000, description="only this task, group or fan-out")] = ""


class QueueQuery(Spec, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1000, description="how many at most")] = 100


class SchedulesQuery(Spec, frozen=True, kw_only=True):
    count: Annotated[int, Meta(ge=1, le=100, description="how many of the times to come")] = 5


# -- jobs --------------------------------------------------------------------------------------------------------


async def _definitions(call: Call) -> Response:
    job = find_job(call.state, call.params["project"], call.params["name"])
    return reply(Page(items=[definition_document(job.name, d) for d in definitions_of(call.state, job)]))


async def _schedules(call: Call) -> Response:
    job = find_job(call.state, call.params["project"], call.params["name"])
    return reply(Page(items=schedules(call.state, job, call.query.count)))


# -- runs --------------------------------------------------------------------------------------------------------


async def _runs(call: Call) -> Response:
    query: RunsQuery = call.query
    if query.job and call.project:
        job = call.state.work.job_id(call.project, query.job)
        records = runs_of(call.state, job) if job else None
    else:
        records = None

    def chosen(run: Run) -> bool:
        return query.job in ("", run.job_name) and (not query.state or str(run.state) in query.state)

    return await list_documents(call, RUN, chosen, records=records)


def _run(call: Call) -> Run:
    return find_run(call.state, call.params["project"], call.params["name"])


async def _definition(call: Call) -> Response:
    run = _run(call)
    return reply(definition_document(run.job_name, call.state.definition_of(run)))


async def _tasks(call: Call) -> Response:
    query: TasksQuery = call.query
    for state in query.state:
        if state not in _STATES:
            raise Invalid(f"no task is {state[:50]!r}", hint=f"it is one of {', '.join(sorted(_STATES))}")
    run, after = _run(call), cursor_key(query.cursor)
    chosen = [
        (path_key(task.path), task)
        for task in _under(call, run, query.path)
        if not query.state or str(task.state) in query.state
    ]
    page = heapq.nsmallest(
        query.limit + 1, [each for each in chosen if after is None or each[0] > after], key=lambda e: e[0]
    )
    more = encode_cursor(page[query.limit - 1][0]) if len(page) > query.limit else ""
    items = [task_document(call.backend, run, task) for _, task in page[: query.limit]]
    return reply(Page(items=items, next=more))


def _under(call: Call, run: Run, path: str) -> Iterator[TaskRun]:
    if not path:
        yield from tasks_of(call.state, run)
        return
    yield find_task(call.state, run, path)
    for task in tasks_of(call.state, run):
        if task.path.startswith((f"{path}.", f"{path}[")):
            yield task


async def _task(call: Call) -> Response:
    run = _run(call)
    return reply(task_document(call.backend, run, find_task(call.state, run, call.params["path"])))


async def _history(call: Call) -> Response:
    """In the order in which it came about."""
    query: HistoryQuery = call.query
    run, after = _run(call), cursor_key(query.cursor)
    order = Order(Plan.of(call.state.definition_of(run).spec))
    entries = [(key, "", mark) for key, mark in order.run(run.marks)] if not query.path else []
    for task in _under(call, run, query.path):
        entries += [(key, task.path, mark) for key, mark in order.task(task.path, task.marks)]
    page = heapq.nsmallest(
        query.limit + 1, [each for each in entries if after is None or each[0] > after], key=lambda e: e[0]
    )
    more = encode_cursor(page[query.limit - 1][0]) if len(page) > query.limit else ""
    items = [
        HistoryEntry(time=mark.time, path=path, state=mark.state, why=mark.why, by=mark.by)
        for _, path, mark in page[: query.limit]
    ]
    return reply(Page(items=items, next=more))


# -- artifacts ---------------------------------------------------------------------------------------------------


async def _artifacts(call: Call) -> Response:
    return reply(await _all_left(call, _run(call)))


async def _all_left(call: Call, run: Run) -> ArtifactList:
    plan = Plan.of(call.state.definition_of(run).spec)
    leaving = [t for t in tasks_of(call.state, run) if plan.node(t.path).task.artifacts]
    others, items = Others(call), [e for t in leaving for e in _left(call, t)]
    nodes = {node for task in leaving for attempt in task.attempts for node in attempt.nodes}
    target = f"/v1/projects/{quote(run.project, safe='')}/runs/{run.id}/artifacts"
    for found in await others.ask(sorted(nodes), target, ArtifactList):
        items += found.items
    newest: dict[str, int] = {}
    for each in items:
        newest[each.path] = max(each.attempt, newest.get(each.path, 0))
    items = [each for each in items if each.attempt == newest[each.path]]
    items.sort(key=lambda each: (path_key(each.path), each.name, each.node))
    return ArtifactList(items=items, unreached=others.missing)


def _left(call: Call, task: TaskRun) -> Iterator[ArtifactEntry]:
    """By its newest attempt that left any; members of a gang each leave their own."""
    for attempt in reversed(task.attempts):
        found = False
        for id, node in zip(attempt.allocations, attempt.nodes, strict=False):
            for kept in call.backend.attempts.artifacts(id):
                found = True
                yield ArtifactEntry(
                    path=task.path, name=kept.name, size=kept.size, files=kept.files, attempt=attempt.number,
                    node=call.state.nodes[node].name if node in call.state.nodes else node[:12],
                )  # fmt: skip
        if found:
            return


async def _of_artifact(call: Call) -> Place | None:
    run = _run(call)
    task, name = find_task(call.state, run, call.params["path"]), call.params["artifact"]
    left = [e for e in (await _all_left(call, run)).items if (e.path, e.name) == (task.path, name)]
    ids = {node.name: node.id for node in call.state.nodes.values()}
    return Place(ids[left[0].node], {**call.params, "name": run.id}) if left and left[0].node in ids else None


async def _artifact(call: Call) -> Response:
    run = _run(call)
    task, name = find_task(call.state, run, call.params["path"]), call.params["artifact"]
    for attempt in reversed(task.attempts):
        for id in attempt.allocations:
            if any(kept.name == name for kept in call.backend.attempts.artifacts(id)):
                pieces = call.backend.attempts.read_artifact(id, name)
                return Streamed(pieces, media_type=TAR)
    raise NotFound(
        f"{task.path} of {run.name} has left no artifact {name[:200]!r}",
        hint=f"hivemind job artifacts {run.name} lists what there is",
    )


# -- the queue ---------------------------------------------------------------------------------------------------


async def _queue(call: Call) -> Response:
    """Positions are among all that waits in the hive, paused runs left out of account."""
    state, project = call.state, call.params["project"]
    if project not in state.projects:
        raise NotFound(f"there is no project {project[:200]!r}", hint="hivemind get projects shows them")
    share = functools.cache(functools.partial(behind, state))
    waiting = sorted(
        (task.rank + share(state.runs[task.run].project), task.rank, task.index, task.run, task.path, task)
        for task in state.work.queued()
    )
    items: list[Any] = _waiting_runs(call.state, project)[: call.query.limit]
    for position, (turn, *_, task) in enumerate(waiting, 1):
        run = state.runs[task.run]
        if run.project != project:
            continue
        if len(items) == call.query.limit:
            break
        items.append(
            Waiting(
                position=position, run=run.name, path=task.path, priority=lane_of(task.lane).priority, ready=task.ready,
                rank=turn, share=share(project), reason=reason_of(state, task),
            )
        )  # fmt: skip
    return reply(Page(items=items))


def _waiting_runs(state: State, project: str) -> list[Waiting]:
    """Runs that have not begun: they wait for others of their job or key, not for a place."""
    ids = [id for job in state.jobs.values() if job.project == project for id in state.work.live_runs(job.id)]
    queued = [run for run in map(state.runs.__getitem__, ids) if run.state is RunState.QUEUED]
    return [
        Waiting(
            position=0, run=run.name, path="", priority=run.priority, ready=run.created,
            rank=rank(run.created, run.priority), share=0, reason=why_run(state, run),
        )
        for run in sorted(queued, key=lambda run: (rank(run.created, run.priority), run.number, run.id))
    ]  # fmt: skip


def reading_endpoints() -> list[Endpoint]:
    job = "/v1/projects/{project}/jobs/{name}"
    run = "/v1/projects/{project}/runs/{name}"
    make = functools.partial(Endpoint, "GET", errors=(NotFound,))
    tasks = (Answer(200, "Some of its tasks, by path.", (Page[TaskRunDocument],)),)
    return [
        make(
            f"{job}/definitions", "jobs.definitions", "List the versions of what a job is, oldest first.",
            _definitions, (Answer(200, "All that are kept.", (Page[DefinitionDocument],)),),
        ),
        make(
            f"{job}/schedules", "jobs.schedules", "When its schedules are due.", _schedules,
            (Answer(200, "In the order of the definition.", (Page[ScheduleDocument],)),), query=SchedulesQuery,
        ),
        make(
            "/v1/projects/{project}/runs", "runs.list", "List runs, those of a job by number.", _runs,
            (Answer(200, "Some runs.", (Page[RunDocument],)),), query=RunsQuery,
        ),
        make(
            "/v1/runs", "runs.list_all", "List the runs of all projects.", _runs,
            (Answer(200, "Some runs.", (Page[RunDocument],)),), query=RunsQuery, errors=(),
        ),
        make(
            f"{run}/definition", "runs.definition", "The definition that a run began with.", _definition,
            (Answer(200, "The definition.", (DefinitionDocument,)),),
        ),
        make(f"{run}/tasks", "runs.tasks", "List the tasks of a run.", _tasks, tasks, query=TasksQuery),
        make(
            f"{run}/tasks/{{path}}", "runs.task", "Read one task of a run.", _task,
            (Answer(200, "The task.", (TaskRunDocument,)),),
        ),
        make(
            f"{run}/watch", "runs.watch", "A run and its tasks, then each change of them, until it has ended."
            " `event` is run, task, gone, ready or end.", watch,
            (Answer(200, "Each event's data is a run or a task.", (TaskRunDocument,), "text/event-stream"),),
        ),
        make(
            f"{run}/logs", "runs.logs",
            "What its tasks wrote, by time. A WebSocket to the same address follows live.", read_logs,
            (Answer(200, "One JSON object a line.", (LogEntry,), STREAM_FORMAT),), query=RunLogsQuery,
            gathers=True,
        ),
        Endpoint("WEBSOCKET", f"{run}/logs", "runs.follow", "Follow.", follow_logs, query=RunLogsQuery,
                 errors=(NotFound,), gathers=True),
        make(
            f"{run}/history", "runs.history", "Every transition of a run and its tasks: when, to what, why, by whom.",
            _history, (Answer(200, "Some of them, oldest first.", (Page[HistoryEntry],)),), query=HistoryQuery,
        ),
        make(
            f"{run}/artifacts", "runs.artifacts", "List what its tasks left.", _artifacts,
            (Answer(200, "By task.", (ArtifactList,)),), gathers=True,
        ),
        make(
            f"{run}/artifacts/{{path}}/{{artifact:path}}", "runs.artifact", "Files that a task left.", _artifact,
            (Answer(200, "The archive.", (), TAR),), at=_of_artifact,
        ),
        make(
            "/v1/projects/{project}/queue", "queue.list", "What waits for a place or a limit, in order.", _queue,
            (Answer(200, "Those who are next first.", (Page[Waiting],)),), query=QueueQuery,
        ),
    ]  # fmt: skip
