"""Time that has come: for a next attempt, for a timeout, for telling that a run is late."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.jobs.workflow.approvals import asked, expire
from hivemind.jobs.workflow.beginning import go
from hivemind.jobs.workflow.stopping import stop
from hivemind.jobs.workflow.turn import Turn
from hivemind.model.job import JobSpec
from hivemind.model.run import Run, TaskRun, TaskState


def tick(turn: Turn, task: TaskRun) -> None:
    """`task.due` has come."""
    if asked(turn, task):
        expire(turn, task)
    elif task.state is TaskState.BLOCKED:
        go(turn, replace(task, due=0), f"attempt {task.attempt + 1}")
    elif task.state is TaskState.RUNNING:
        limit = turn.node(task).task.timeout
        stop(turn, task, TaskState.TIMED_OUT, f"it took longer than {limit:g} s")


def tick_run(turn: Turn) -> None:
    run, spec = turn.run, turn.book.spec
    if run.state.ended:
        return
    if 0 < _late_at(run, spec) <= turn.now:
        turn.book.put_run(replace(run, late=True))
        turn.book.notify("late", f"it has not ended {spec.deadline:g} s after it was due")
    if 0 < run.due <= turn.now:
        stop(turn, turn.found(""), TaskState.TIMED_OUT, f"the run took longer than {spec.timeout:g} s")


def alarm(run: Run, spec: JobSpec) -> int:
    """When (ms) `Workflow.tick_run` has something to do, if nothing happens before; 0: never."""
    times = [time for time in (run.due, _late_at(run, spec)) if time]
    return min(times) if times and not run.state.ended else 0


def _late_at(run: Run, spec: JobSpec) -> int:
    if run.late or not spec.deadline:
        return 0
    return (run.start.time or run.created) + round(spec.deadline * 1000)
