"""The documents of jobs, runs, their tasks, routines and circuits."""

from __future__ import annotations

from collections import Counter

from hivemind.api.backend import Backend
from hivemind.api.jobs.lookup import runs_of, shown_inputs, tasks_of
from hivemind.errors import HivemindError
from hivemind.jobs.plan import Plan
from hivemind.jobs.schedule import next_time
from hivemind.model.circuit import CircuitDocument, CircuitRecord
from hivemind.model.job import Definition, Job, JobDocument, Schedule
from hivemind.model.job_answers import DefinitionDocument, ScheduleDocument
from hivemind.model.routine import LibraryRoutine, RoutineDocument
from hivemind.model.run import (
    Run,
    RunDocument,
    RunState,
    Tally,
    TaskRun,
    TaskRunDocument,
    TaskState,
    task_key,
)
from hivemind.state.jobs import schedules as named
from hivemind.state.jobs.circuits import needed
from hivemind.state.jobs.explain import why, why_run
from hivemind.state.jobs.lane import lane_of
from hivemind.state.jobs.routines import calling_jobs
from hivemind.state.state import State

_NEXT = 5
"""So many of the times to come are shown of each schedule."""
_WAITING = (TaskState.PENDING, TaskState.BLOCKED, TaskState.QUEUED)


def job_document(backend: Backend, job: Job) -> JobDocument:
    state = backend.state
    runs = runs_of(state, job.id)
    due = [d.next[0] for d in schedules(state, job) if d.next and not d.paused]
    return JobDocument(
        project=job.project,
        name=job.name,
        id=job.id,
        labels=job.labels,
        version=job.version,
        number=job.number,
        spec=state.job_spec(job),
        paused=job.paused,
        paused_schedules=job.paused_schedules,
        runs=job.runs,
        live=sum(1 for run in runs if not run.state.ended),
        last=runs[-1].name if runs else "",
        last_state=str(runs[-1].state) if runs else "",
        next=min(due, default=0),
        created=job.created,
        updated=job.updated,
    )


def definition_document(name: str, found: Definition) -> DefinitionDocument:
    return DefinitionDocument(
        job=name, number=found.number, spec=found.spec, by=found.by, created=found.created
    )


def schedules(state: State, job: Job, count: int = 1) -> list[ScheduleDocument]:
    """Of a job, each with the next `count` of its times."""
    made = []
    for name, schedule in named.schedules(state.job_spec(job)):
        seen = job.seen.get(name, 0)
        made.append(
            ScheduleDocument(
                job=job.name,
                name=name,
                schedule=schedule,
                next=_times(schedule, max(seen, state.time), named.salt(job, name), count),
                seen=seen,
                paused=named.paused(job, name, schedule),
            )
        )
    return made


def _times(schedule: Schedule, after: int, salt: str, count: int) -> tuple[int, ...]:
    found: list[int] = []
    while len(found) < count:
        coming = next_time(schedule, after, salt)
        if coming is None:
            break
        found.append(coming)
        after = coming
    return tuple(found)


def run_document(backend: Backend, run: Run) -> RunDocument:
    return RunDocument(
        project=run.project,
        name=run.name,
        id=run.id,
        job=run.job_name,
        definition=run.definition,
        start=run.start,
        inputs=shown_inputs(run),
        priority=run.priority,
        state=str(run.state),
        reason=_reason(backend.state, run),
        paused=run.paused,
        late=run.late,
        outputs=run.outputs,
        tally=tally(backend.state, run),
        created=run.created,
        started=run.started,
        ended=run.ended,
        marks=run.marks,
    )


def _reason(state: State, run: Run) -> str:
    if run.state is RunState.QUEUED:
        return why_run(state, run)
    return f"being canceled: {run.canceling}" if run.canceling and not run.state.ended else run.reason


def tally(state: State, run: Run) -> Tally:
    """Of what is no group and no fan-out. Costs a look at each of these, not at each task."""
    counts: Counter[TaskState] = Counter()
    for parent in state.work.families.parents(run.id):
        counts.update(state.work.families.tally(run.id, parent))
        around = state.task_runs.get(task_key(run.id, parent))
        if around is not None:
            counts[around.state] -= 1
    return Tally(
        total=counts.total(),
        waiting=sum(counts[each] for each in _WAITING),
        running=counts[TaskState.RUNNING],
        succeeded=counts[TaskState.SUCCEEDED],
        failed=sum(count for each, count in counts.items() if each.failure),
        skipped=counts[TaskState.SKIPPED] + counts[TaskState.CANCELED],
    )


def task_documents(backend: Backend, run: Run) -> list[TaskRunDocument]:
    """All of them, by path."""
    return [task_document(backend, run, task) for task in sorted(tasks_of(backend.state, run), key=by_path)]


def by_path(task: TaskRun) -> tuple[object, ...]:
    return path_key(task.path)


def path_key(path: str) -> tuple[str, ...]:
    """`build[2]` before `build[10]`, each behind the group or fan-out that it is in."""
    parts = path.replace("[", ".[").split(".")
    return tuple(f"[{part[1:-1]:0>9}" if part.startswith("[") else part for part in parts)


def task_document(backend: Backend, run: Run, task: TaskRun) -> TaskRunDocument:
    state = backend.state
    role, needs = _place(state, run, task.path)
    return TaskRunDocument(
        path=task.path,
        role=role,  # type: ignore[arg-type]
        state=str(task.state),
        reason=reason_of(state, task),
        needs=needs,
        attempt=task.attempt,
        attempts=task.attempts,
        allocations=task.allocations,
        nodes=_nodes(state, task),
        exit_code=task.exit_code,
        item=task.item,
        child=state.runs[task.child].name if task.child in state.runs else "",
        outputs=task.outputs,
        due=task.due,
        created=task.created,
        started=task.started,
        ended=task.ended,
        marks=task.marks,
    )


def _place(state: State, run: Run, path: str) -> tuple[str, tuple[str, ...]]:
    """Its role, and the ids of the tasks that it needs."""
    try:
        plan = Plan.of(state.definition_of(run).spec)
        node = plan.node(path)
    except (HivemindError, KeyError):
        return "task", ()
    fanned = path.endswith("]")
    return plan.role(path), () if fanned else tuple(sorted(needed.id for needed in node.needs))


def _nodes(state: State, task: TaskRun) -> tuple[str, ...]:
    live = [state.allocations[id].node for id in task.allocations if id in state.allocations]
    ids = live or (task.attempts[-1].nodes if task.attempts else ())
    return tuple(state.nodes[id].name if id in state.nodes else id[:12] for id in ids if id)


def routine_document(backend: Backend, routine: LibraryRoutine) -> RoutineDocument:
    return RoutineDocument(
        project=routine.project,
        name=routine.name,
        labels=routine.labels,
        version=routine.version,
        number=routine.number,
        spec=routine.versions[str(routine.number)],
        used_by=tuple(calling_jobs(backend.state, routine.project, routine.name)),
        created=routine.created,
        updated=routine.updated,
    )


def circuit_document(backend: Backend, circuit: CircuitRecord) -> CircuitDocument:
    return CircuitDocument(
        project=circuit.project,
        name=circuit.name,
        state=circuit.state,
        forced=circuit.forced,
        detected=circuit.detected,
        failures=len(circuit.failures),
        policy=circuit.policy,
        opened=circuit.opened,
        due=circuit.due,
        waiting=_waiting_for(backend.state, circuit),
        reason=circuit.reason,
        updated=circuit.updated,
    )


def _waiting_for(state: State, circuit: CircuitRecord) -> int:
    if circuit.state == "closed":
        return 0
    return sum(1 for task in state.work.queued() if _needs(state, task, circuit))


def _needs(state: State, task: TaskRun, circuit: CircuitRecord) -> bool:
    run, lane = state.runs[task.run], lane_of(task.lane)
    return run.project == circuit.project and circuit.name in needed(state, run, task.path, lane.circuits)


def waiting_approvals(state: State, run: Run) -> list[str]:
    """Paths of the approvals that somebody has to give or refuse."""
    blocked = [task.path for task in tasks_of(state, run) if task.state is TaskState.BLOCKED]
    return sorted(path for path in blocked if _place(state, run, path)[0] == "approval")


def reason_of(state: State, task: TaskRun) -> str:
    """Why it is as it is; of one that waits, for what: computed, as nothing is ever written into waiters."""
    return why(state, task) or task.reason if task.state in _WAITING else task.reason
