"""What is derived from the records of jobs and runs, so that each event costs only what it touches.

Nothing in here is saved: it follows from the tables, change by change, and is there again after they were loaded in
whatever order.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from hivemind.jobs.queue import Queue, rank
from hivemind.model.allocation import Allocation
from hivemind.model.app import AppSpec
from hivemind.model.circuit import CircuitRecord
from hivemind.model.job import Definition, Job
from hivemind.model.queue import PausedQueue, RecentStart
from hivemind.model.run import Run, RunState, TaskRun, TaskState, run_and_path
from hivemind.state.deadlines import Deadlines
from hivemind.state.jobs.broken import Broken
from hivemind.state.jobs.families import Families
from hivemind.state.jobs.lane import lane_of
from hivemind.state.jobs.triggers import Triggers
from hivemind.state.multimap import add, drop
from hivemind.state.tables import Change

M = TypeVar("M")
N = TypeVar("N", tuple[int, str], tuple[int, int, str])
Numbered = tuple[int, int, str]
"""When a run ended (ms), its number, its id."""


class RunLane(NamedTuple):
    """What stops a run that waits stops all others of the same lane."""

    project: str
    key: str
    job: str
    source: str
    """The schedule that started it, or that it makes up for."""


class WorkIndex:
    """`state.work`."""

    def __init__(self, deadlines: Deadlines) -> None:
        self.families = Families()
        self.tasks = Queue()
        """Task runs, by key, that wait for a place or a limit."""
        self.runs = Queue()
        """Runs, by id, that wait for others to end."""
        self.ended_runs: list[str] = []
        """Runs that ended in this batch and that nobody has looked at yet."""
        self.rescheduled: set[str] = set()
        """Jobs whose schedules have to be looked at anew."""
        self.timed: dict[str, tuple[str, ...]] = {}
        """Job -> names of its schedules that have a timer."""
        self.retimed: set[str] = set()
        """Runs whose alarm has to be set anew."""
        self.overdue: set[str] = set()
        """Jobs of which more ended runs are kept than shall be."""
        self.specs: dict[tuple[str, int], dict[tuple[str, str], AppSpec]] = {}
        """Definition (job, number) -> path of the task, image -> what it needs of a node."""
        self.lanes: dict[tuple[str, int], dict[tuple[str, int, tuple[str, ...]], str]] = {}
        """Definition -> path, priority, circuits -> the lane of tasks whose keys and image are no templates."""
        self.unstarted: list[tuple[str, str, str]] = []
        """Of this batch: project, name and reason of jobs that something in the hive should have started."""
        self.fired = 0
        """Of this batch: how often something in the hive has started a job."""
        self.refusals: dict[str, str] = {}
        """Lane -> why there is no place for it, as of the batch whose number stands under the empty one."""
        self.triggers = Triggers()
        """Which jobs wait for which events."""
        self.broken = Broken()
        """Which detected circuits concern which tasks."""
        self._deadlines = deadlines
        self._jobs: dict[tuple[str, str], str] = {}
        self._numbers: dict[str, set[int]] = {}
        self._definition_runs: Counter[tuple[str, int]] = Counter()
        self._live_runs: dict[str, dict[str, None]] = {}
        self._all_runs: dict[str, list[tuple[int, str]]] = {}
        self._named: dict[tuple[str, str], list[str]] = {}
        self._ended: dict[tuple[str, bool], list[Numbered]] = {}
        self._begun_by_key: dict[tuple[str, str], set[str]] = {}
        self._begun_by_source: dict[tuple[str, str], set[str]] = {}
        self._known_runs: set[str] = set()
        self.orphans: set[str] = set()
        """Runs that were forgotten, and whose task runs have still to be."""
        self._queued: dict[str, TaskRun] = {}
        self._running: set[str] = set()
        self._preemptible: set[str] = set()
        self._preempting: dict[str, set[str]] = {}
        self._promised: dict[str, tuple[str, ...]] = {}
        self._by_key: dict[tuple[str, str], set[str]] = {}
        self._by_project: Counter[str] = Counter()
        self._attempts: set[str] = set()
        self._starts: dict[tuple[str, str], list[tuple[int, str]]] = {}

    # -- jobs and definitions --------------------------------------------------------------------------------

    def job_id(self, project: str, name: str) -> str | None:
        return self._jobs.get((project, name))

    def definition_numbers(self, job: str) -> list[int]:
        """Those still kept, oldest first."""
        return sorted(self._numbers.get(job, ()))

    def definition_used(self, job: str, number: int) -> bool:
        """A run still kept began with it."""
        return self._definition_runs[job, number] > 0

    # -- runs ------------------------------------------------------------------------------------------------

    def live_runs(self, job: str) -> list[str]:
        """Ids of those that have not ended."""
        return sorted(self._live_runs.get(job, ()))

    def live_count(self, job: str) -> int:
        return len(self._live_runs.get(job, ()))

    def runs_of(self, job: str) -> list[str]:
        """Ids of all that are still kept, by number."""
        return [id for _, id in self._all_runs.get(job, ())]

    def newest_run(self, job: str) -> str | None:
        found = self._all_runs.get(job)
        return found[-1][1] if found else None

    def runs_named(self, project: str, name: str) -> list[str]:
        """Ids of the runs that are called so: several, where a job was made anew under its old name."""
        return self._named.get((project, name), [])

    def ended_of(self, job: str, *, begun: bool) -> list[Numbered]:
        """Of those that had begun, or of those that never did: oldest first; not to be changed."""
        return self._ended.get((job, begun), [])

    def newest_ended(self, job: str) -> str | None:
        """Its id."""
        last = [ended[-1] for begun in (True, False) if (ended := self._ended.get((job, begun)))]
        return max(last)[2] if last else None

    def begun_with_key(self, project: str, key: str) -> set[str]:
        """Runs of that concurrency key that go on; not to be changed."""
        return self._begun_by_key.get((project, key), set())

    def begun_by(self, job: str, source: str) -> set[str]:
        """Runs that this schedule of the job started and that go on; not to be changed."""
        return self._begun_by_source.get((job, source), set())

    # -- what runs -------------------------------------------------------------------------------------------

    def running_with_key(self, project: str, key: str) -> set[str]:
        """Keys of the task runs with that concurrency key that have a place; not to be changed."""
        return self._by_key.get((project, key), set())

    def running_of(self, project: str) -> int:
        return self._by_project[project]

    def running(self) -> int:
        """How many task runs of all projects have a place."""
        return len(self._running)

    def preemptible(self) -> list[str]:
        """Keys of the task runs that have a place and may lose it to others."""
        return sorted(self._preemptible)

    def preempting(self, key: str) -> bool:
        """Something is being stopped to make room for that task run."""
        return key in self._preempting

    def going(self) -> list[tuple[str, str]]:
        """For which task runs room is being made, each with the id of an allocation that goes for it."""
        return [(key, min(going)) for key, going in sorted(self._preempting.items())]

    def promised(self) -> list[tuple[str, tuple[str, ...]]]:
        """Keys of the queued task runs for which room is kept, with the nodes."""
        return sorted(self._promised.items())

    def queued(self) -> Iterable[TaskRun]:
        """All that wait for a place or a limit, in no order."""
        return self._queued.values()

    def attempts(self) -> list[str]:
        """Ids of the allocations of tasks: all that there are, for those that have ended are removed."""
        return sorted(self._attempts)

    def starts(self, project: str, key: str) -> list[tuple[int, str]]:
        """Of that rate key: when (ms), and the key of the record, oldest first; not to be changed."""
        return self._starts.get((project, key), [])

    # -- keeping it ------------------------------------------------------------------------------------------

    def reindex(self, change: Change) -> None:
        keep = _KEEP.get(change.table)
        if keep:
            keep(self, change)

    def _job(self, change: Change) -> None:
        old: Job | None = change.old
        new: Job | None = change.new
        if old and (new is None or new.name != old.name):
            self._jobs.pop((old.project, old.name), None)
        if new:
            self._jobs[new.project, new.name] = new.id
        if old is None or new is None or _timing(old) != _timing(new):
            self.rescheduled.add(change.key)
            self.triggers.touch(change.key)

    def _definition(self, change: Change) -> None:
        new: Definition | None = change.new
        definition: Definition = new or change.old
        if new:
            add(self._numbers, new.job, new.number)
        else:
            drop(self._numbers, definition.job, definition.number)
        self._forget_specs(definition)

    def _forget_specs(self, definition: Definition) -> None:
        which = (definition.job, definition.number)
        self.specs.pop(which, None)
        self.lanes.pop(which, None)

    def _run(self, change: Change) -> None:
        old: Run | None = change.old
        new: Run | None = change.new
        self.retimed.add(change.key)
        if old and new and _same_place(old, new):
            return
        if old:
            self._run_out(old)
        if new:
            self._run_in(new)
            if old and new.state.ended and not old.state.ended:
                self.ended_runs.append(new.id)

    def _run_in(self, run: Run) -> None:
        self._known_runs.add(run.id)
        self.orphans.discard(run.id)
        self._definition_runs[run.job, run.definition] += 1
        insort(self._all_runs.setdefault(run.job, []), (run.number, run.id))
        self._named.setdefault((run.project, run.name), []).append(run.id)
        if run.state.ended:
            which = (run.job, bool(run.started))
            insort(self._ended.setdefault(which, []), (run.ended, run.number, run.id))
            self.overdue.add(run.job)
            return
        self._live_runs.setdefault(run.job, {})[run.id] = None
        if run.state is RunState.QUEUED:
            self._queue_run(run)
            return
        if run.key:
            add(self._begun_by_key, (run.project, run.key), run.id)
        if run.start.kind in ("schedule", "backfill"):
            add(self._begun_by_source, (run.job, run.start.source), run.id)

    def _run_out(self, run: Run) -> None:
        self._known_runs.discard(run.id)
        if self.families.paths(run.id):
            self.orphans.add(run.id)
        which = (run.job, run.definition)
        self._definition_runs[which] -= 1
        if not self._definition_runs[which]:
            del self._definition_runs[which]
        _take(self._all_runs, run.job, (run.number, run.id))
        named = self._named[run.project, run.name]
        named.remove(run.id)
        if not named:
            del self._named[run.project, run.name]
        if run.state.ended:
            _take(self._ended, (run.job, bool(run.started)), (run.ended, run.number, run.id))
            return
        live = self._live_runs[run.job]
        live.pop(run.id, None)
        if not live:
            del self._live_runs[run.job]
        self.runs.drop(run.id)
        if run.state is not RunState.QUEUED:
            drop(self._begun_by_key, (run.project, run.key), run.id)
            drop(self._begun_by_source, (run.job, run.start.source), run.id)
            self.runs.wake(("key", run.project, run.key))
            self.runs.wake(("source", run.job, run.start.source))

    def _queue_run(self, run: Run) -> None:
        if run.paused:
            return
        source = run.start.source if run.start.kind in ("schedule", "backfill") else ""
        lane = RunLane(run.project, run.key, run.job, source)
        turn = rank(run.created, run.priority)
        self.runs.put(run.id, turn, run.number, lane, (run.project, ""))

    def _task(self, change: Change) -> None:
        old: TaskRun | None = change.old
        new: TaskRun | None = change.new
        self.families.reindex(old, new)
        self._adopt(run_and_path(change.key)[0])
        self._time_task(change.key, new)
        was, now = _placed(old), _placed(new)
        if was != now:
            if was and old:
                self._stopped(change.key, old)
            if now and new:
                self._started(change.key, new)
        queued = new is not None and new.state is TaskState.QUEUED
        if queued and new is not None:
            self._queued[change.key] = new
        else:
            self._queued.pop(change.key, None)
            if change.key in self._preempting:
                self.tasks.room()
        self._promise(change.key, new.promised if queued and new is not None else ())
        if _turn(old) != _turn(new):
            self.tasks.drop(change.key)
            if queued and new is not None:
                lane = lane_of(new.lane)
                self.tasks.put(change.key, new.rank, new.index, new.lane, (lane.project, lane.place))

    def _promise(self, key: str, nodes: tuple[str, ...]) -> None:
        old = self._promised.pop(key, ())
        if nodes:
            self._promised[key] = nodes
        if old and old != nodes:
            self.tasks.room()

    def _adopt(self, run: str) -> None:
        if run in self._known_runs:
            return
        if self.families.paths(run):
            self.orphans.add(run)
        else:
            self.orphans.discard(run)

    def _time_task(self, key: str, task: TaskRun | None) -> None:
        if task is not None and task.due and not task.state.decided:
            self._deadlines.put(("task", key), task.due)
        else:
            self._deadlines.pop(("task", key))

    def _started(self, key: str, task: TaskRun) -> None:
        lane = lane_of(task.lane)
        self._running.add(key)
        self._by_project[lane.project] += 1
        if lane.key:
            add(self._by_key, (lane.project, lane.key), key)
        if lane.preemptible:
            self._preemptible.add(key)

    def _stopped(self, key: str, task: TaskRun) -> None:
        lane = lane_of(task.lane)
        self._running.remove(key)
        self._preemptible.discard(key)
        self._by_project[lane.project] -= 1
        if lane.key:
            drop(self._by_key, (lane.project, lane.key), key)
            self.tasks.wake(("key", lane.project, lane.key))
        self.tasks.wake(("project", lane.project))

    def _allocation(self, change: Change) -> None:
        old: Allocation | None = change.old
        new: Allocation | None = change.new
        if old is not None and old.makes_room_for:
            drop(self._preempting, old.makes_room_for, old.id)
        if new is not None and new.makes_room_for:
            add(self._preempting, new.makes_room_for, new.id)
        if new is not None and new.for_job:
            self._attempts.add(new.id)
        elif new is None and old is not None and old.for_job:
            self._attempts.discard(old.id)
        if old is not None and old.node and old.live and (new is None or not new.live):
            self.tasks.room()
        elif new is not None and new.node and not new.for_job:
            self.tasks.stirred = True  # it takes room that may have been promised

    def _node(self, change: Change) -> None:
        self.tasks.room()

    def _project(self, change: Change) -> None:
        self.tasks.wake(("project", change.key))

    def _queue(self, change: Change) -> None:
        queue: PausedQueue = change.new or change.old
        for waiting in (self.tasks, self.runs):
            waiting.wake(("queue", queue.project, queue.key))

    def _circuit(self, change: Change) -> None:
        new: CircuitRecord | None = change.new
        self.broken.reindex(change.old, new)
        if new is not None and new.state == "open" and not new.forced and new.due:
            self._deadlines.put(("circuit", change.key), new.due)
        else:
            self._deadlines.pop(("circuit", change.key))
        self.wake_circuit(change.key)

    def wake_circuit(self, key: str) -> None:
        """`key`: `<project>/<name>`."""
        self.tasks.wake(("circuit", *key.split("/", 1)))

    def settled(self) -> None:
        """What this was copied from was at rest: nothing that was noted while it was loaded is to be done."""
        for noted in (self.rescheduled, self.retimed, self.overdue):
            noted.clear()
        self.ended_runs.clear()

    def _start(self, change: Change) -> None:
        start: RecentStart = change.new or change.old
        which = (start.project, start.key)
        if change.new is not None:
            insort(self._starts.setdefault(which, []), (start.time, change.key))
            self._deadlines.put(("start", change.key), start.until)
        else:
            _take(self._starts, which, (start.time, change.key))
            self._deadlines.pop(("start", change.key))
            self.tasks.wake(("rate", *which))


_KEEP = {
    "jobs": WorkIndex._job,
    "definitions": WorkIndex._definition,
    "runs": WorkIndex._run,
    "task_runs": WorkIndex._task,
    "allocations": WorkIndex._allocation,
    "nodes": WorkIndex._node,
    "volumes": WorkIndex._node,
    "projects": WorkIndex._project,
    "queues": WorkIndex._queue,
    "circuits": WorkIndex._circuit,
    "starts": WorkIndex._start,
}


def _timing(job: Job) -> tuple[object, ...]:
    """What its schedules and triggers follow from."""
    return (job.number, job.seen, job.paused, job.paused_schedules)


def _placed(task: TaskRun | None) -> bool:
    """It has, or had until its node says otherwise, a place."""
    return task is not None and bool(task.allocations) and bool(task.lane)


def _same_place(old: Run, new: Run) -> bool:
    return (old.state, old.key, bool(old.started), old.ended, old.priority, old.paused) == (
        new.state, new.key, bool(new.started), new.ended, new.priority, new.paused,
    )  # fmt: skip


def _turn(task: TaskRun | None) -> tuple[int, str, int] | None:
    """Where it stands in the queue; None: nowhere."""
    return (task.rank, task.lane, task.index) if task is not None and task.state is TaskState.QUEUED else None


def _take(index: dict[M, list[N]], key: M, entry: N) -> None:
    """Takes an entry out of a sorted list."""
    entries = index[key]
    at = bisect_left(entries, entry)
    assert entries[at] == entry
    del entries[at]
    if not entries:
        del index[key]
