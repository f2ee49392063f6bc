"""After the operations of a batch: what follows for jobs and runs, until nothing follows any more.

Whatever is done here follows from the records and the time of the batch alone. Noting too much to be looked at does no
harm: at rest, looking again changes nothing. So a state that was restored goes on like the one that never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hivemind.jobs.workflow import alarm
from hivemind.model.run import run_and_path
from hivemind.state.deadlines import Timer
from hivemind.state.jobs import events
from hivemind.state.jobs.book import workflow
from hivemind.state.jobs.dispatch import dispatch
from hivemind.state.jobs.firing import fire, reschedule
from hivemind.state.jobs.keeping import keep
from hivemind.state.jobs.waiting import begin_runs
from hivemind.state.state import State

_ROUNDS = 10_000
"""More than any chain of jobs that start each other can need."""


def advance(state: State, passed: Sequence[Timer]) -> None:
    """`passed`: timers whose time has come."""
    state.work.unstarted.clear()
    state.work.fired = 0
    for kind, key in passed:
        _TIMERS[kind](state, key)
    seen = 0
    for _ in range(_ROUNDS):
        busy = _tell_parents(state)
        busy = begin_runs(state) or busy
        busy = dispatch(state) or busy
        if len(state.changes) > seen:
            seen = events.fire(state, seen)
            busy = True
        if not busy:
            break
    else:
        raise AssertionError("jobs do not come to rest")
    keep(state)
    _set_alarms(state)
    reschedule(state)


def recall_work(state: State) -> None:
    """After a restore, when everything is at rest: sets the timers, and wants a batch soon if anything waits."""
    state.work.ended_runs.clear()
    _set_alarms(state)
    reschedule(state)
    if len(state.work.tasks) or len(state.work.runs) or state.work.overdue or state.work.orphans:
        state.deadlines.put(("look", ""), state.time)


def _tell_parents(state: State) -> bool:
    """Tasks that waited for runs of other jobs go on."""
    ended, state.work.ended_runs = state.work.ended_runs, []
    for id in ended:
        run = state.runs.get(id)
        if run is not None and run.state.ended and run.parent:
            parent, path = run_and_path(run.parent)
            if parent in state.runs:
                workflow(state, parent).child_ended(path, run)
    return bool(ended)


def _set_alarms(state: State) -> None:
    changed, state.work.retimed = sorted(state.work.retimed), set()
    for id in changed:
        run = state.runs.get(id)
        when = alarm(run, state.definition_of(run).spec) if run and not run.state.ended else 0
        if when:
            state.deadlines.put(("run", id), when)
        else:
            state.deadlines.pop(("run", id))


# -- timers --------------------------------------------------------------------------------------------------


def _task(state: State, key: str) -> None:
    run, path = run_and_path(key)
    if run in state.runs and key in state.task_runs:
        workflow(state, run).tick(path)


def _run(state: State, id: str) -> None:
    if id in state.runs:
        workflow(state, id).tick_run()
        state.work.retimed.add(id)


def _start(state: State, key: str) -> None:
    """It does not count any more."""
    if key in state.starts:
        state.tables.remove(state.starts, key)


def _room(state: State, key: str) -> None:
    """Somebody has waited long enough that room is kept for it."""
    state.work.tasks.stirred = True


def _look(state: State, key: str) -> None:
    """A batch was wanted, and here it is."""


_TIMERS: dict[str, Callable[[State, str], None]] = {
    "task": _task,
    "run": _run,
    "schedule": fire,
    "start": _start,
    "room": _room,
    "circuit": lambda state, key: state.work.wake_circuit(key),
    "keep": lambda state, job: state.work.overdue.add(job),
    "tidy": _look,
    "look": _look,
}
