"""What never happens to jobs in the hive, whatever people, nodes and time do, and whenever it is restarted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.node import NodeManifest
from hivemind.model.run import RunState, TaskState
from hivemind.state.jobs.lane import lane_of
from hivemind.state.operations import (
    Approve,
    DeleteJob,
    DrainNode,
    Operation,
    PauseJob,
    PauseQueue,
    PauseRun,
    RetryRun,
    StartRun,
    UpdateNode,
)
from hivemind.state.state import Signed, State
from jobs_hive import ADMIN, JobsHive

EVERY = 20
"""Seconds between the times of the schedule."""

CHAIN = {
    "a": {"run": "true", "retry": {"max": 1, "delay": 5, "losses": 2}},
    "b": {"run": "true", "needs": ["a"], "concurrency": {"key": "shared", "limit": 1}},
    "c": {"run": "true", "needs": {"b": "failure"}},
}
JOBS: dict[str, dict[str, Any]] = {
    "chain": {
        "tasks": CHAIN,
        "keep": {"runs": 3},
        "concurrency": {"limit": 2},
        "finally": {"tidy": {"run": "true", "priority": 90}},
    },
    "fan": {
        "tasks": {
            "each": {
                "run": "true",
                "for_each": [1, 2, 3, 4],
                "max_parallel": 3,
                "concurrency": {"key": "shared", "limit": 2},
                "preemptible": True,
                "priority": 10,
            },
            "all": {"run": "true", "needs": ["each"], "nodes": 2, "share_nodes": True},
        },
        "keep": {"runs": 2},
    },
    "sizes": {
        "tasks": {
            "small": {"run": "true", "for_each": [1, 2, 3, 4, 5, 6], "resources": {"cpus": 1}},
            "large": {"run": "true", "resources": {"cpus": 4}, "concurrency": {"key": "shared", "limit": 2}},
            "gang": {"run": "true", "nodes": 2, "resources": {"cpus": 3}, "allow_failure": True},
        },
        "keep": {"runs": 2},
    },
    "gate": {
        "concurrency": {"key": "gate", "limit": 1, "behavior": "cancel"},
        "tasks": {
            "ask": {"approval": {"message": "go on?", "timeout": 30}},
            "slow": {"run": "true", "needs": ["ask"], "timeout": 60, "rate": {"limit": 2, "per": 30}},
            "child": {"job": "chain", "needs": ["slow"], "allow_failure": True},
        },
    },
    "ticks": {
        "on": {
            "schedule": [
                {"every": EVERY, "missed": "all", "window": 100_000, "overlap": "queue", "name": "t"}
            ]
        },
        "tasks": {"x": {"run": "true", "rate": {"limit": 2, "per": 30}}},
        "keep": {"runs": 1000},
    },
}
OUTCOMES: list[dict[str, Any]] = [
    {"state": AllocationState.COMPLETE, "cause": "exit", "exit_code": 0},
    {"state": AllocationState.COMPLETE, "cause": "exit", "exit_code": 0},
    {"state": AllocationState.COMPLETE, "cause": "exit", "exit_code": 0},
    {"state": AllocationState.FAILED, "cause": "exit", "exit_code": 1},
    {"state": AllocationState.FAILED, "cause": "timeout"},
    {"state": AllocationState.LOST, "cause": "lost"},
    {"state": AllocationState.STOPPED},
]


class Twins(JobsHive):
    """Every batch is applied to two states, one of which was restored from a snapshot at some time."""

    def __init__(self, slots: int) -> None:
        self.twin: State | None = None
        super().__init__(2, slots=slots)
        self.twin = State.restore(self.state.snapshot())

    def do(self, operation: Operation, **how: Any) -> Any:
        nonce = f"n{self.count}"
        before = self.state.sequence
        outcome = super().do(operation, nonce=nonce, **{k: v for k, v in how.items() if k != "nonce"})
        if self.twin is not None and self.state.sequence > before:
            signed = Signed(how.get("by", ADMIN), nonce, operation)
            [same] = self.twin.apply(self.state.sequence, self.time, [signed])
            assert same == outcome
        return outcome

    def tick(self, seconds: float) -> None:
        """Time passes at once: what was due meanwhile was missed."""
        self.time += round(seconds * 1000)
        for state in (self.state, self.twin):
            assert state is not None
            state.apply(state.sequence + 1, self.time, [])


class Jobs(RuleBasedStateMachine):
    @initialize(room=st.sampled_from([(3, 4), (2, 6), (1, 0)]))
    def begin(self, room: tuple[int, int]) -> None:
        """`room`: task slots of each of two nodes, and how many tasks of the project may run (0: no limit)."""
        self.slots, self.most = room
        self.hive = Twins(self.slots)
        self.hive.allow("default", max_tasks=self.most)
        for name in sorted(JOBS):
            self.hive.put(name, **JOBS[name])
        self.since = self.hive.state.jobs[self.job("ticks")].created
        self.paused: list[tuple[int, int]] = []
        self.pausing = 0
        self.deleted = 0
        self.starts: list[int] = []
        self.seen: set[str] = set()
        self.fired: dict[int, int] = {}
        """Time of the schedule -> number of the run that it started."""
        self.ran: Counter[int] = Counter()
        self.told: set[str] = set()

    def job(self, name: str) -> str:
        found = self.hive.state.find_job("default", name)
        assert found
        return found.id

    # -- what people do ----------------------------------------------------------------------------------------

    @rule(
        name=st.sampled_from(["chain", "fan", "gate", "sizes"]),
        priority=st.sampled_from([None, 0, 100]),
        key=st.sampled_from(["", "k"]),
    )
    def start(self, name: str, priority: int | None, key: str) -> None:
        self.hive.do(StartRun(project="default", job=name, priority=priority, key=key))

    @rule(pick=st.integers(0, 100), kill=st.booleans(), part=st.booleans())
    def cancel(self, pick: int, kill: bool, part: bool) -> None:
        live = [r for r in self.hive.state.runs.values() if not r.state.ended]
        if live:
            run = live[pick % len(live)]
            paths = sorted(self.hive.state.work.families.paths(run.id)) if part else []
            self.hive.cancel(run, *([paths[pick % len(paths)]] if paths else []), kill=kill)

    @rule(pick=st.integers(0, 100))
    def retry(self, pick: int) -> None:
        bad = [
            r
            for r in self.hive.state.runs.values()
            if r.state in (RunState.FAILED, RunState.CANCELED) and r.started
        ]
        if bad:
            run = bad[pick % len(bad)]
            if self.room(run.key, run.id):
                self.hive.do(RetryRun(project="default", run=run.id))

    def room(self, key: str, run: str) -> bool:
        if self.hive.state.runs[run].job not in self.hive.state.jobs:
            return False
        if self.hive.state.runs[run].job_name == "ticks":
            return not self.hive.state.work.begun_by(self.job("ticks"), "t")
        limit = self.hive.state.definition_of(self.hive.state.runs[run]).spec.concurrency
        return limit is None or len(self.hive.state.work.begun_with_key("default", key)) < limit.limit

    @rule(pick=st.integers(0, 100), paused=st.booleans())
    def pause_run(self, pick: int, paused: bool) -> None:
        live = [r for r in self.hive.state.runs.values() if not r.state.ended]
        if live:
            self.hive.do(PauseRun(project="default", run=live[pick % len(live)].id, paused=paused))

    @rule(key=st.sampled_from(["", "shared", "gate"]), paused=st.booleans())
    def pause_queue(self, key: str, paused: bool) -> None:
        self.hive.do(PauseQueue(project="default", key=key, paused=paused))

    @rule(paused=st.booleans(), one=st.booleans())
    def pause_ticks(self, paused: bool, one: bool) -> None:
        self.hive.do(
            PauseJob(project="default", name="ticks", paused=paused, schedules=("t",) if one else ())
        )
        job = self.hive.state.jobs[self.job("ticks")]
        now = self.hive.time
        if (job.paused or job.paused_schedules) and not self.pausing:
            self.pausing = now
        elif self.pausing and not (job.paused or job.paused_schedules):
            self.paused.append((self.pausing, now))
            self.pausing = 0

    @rule(approved=st.booleans())
    def approve(self, approved: bool) -> None:
        for task in self.hive.state.task_runs.values():
            if task.path == "ask" and task.state is TaskState.BLOCKED and not self.hive.run(task.run).paused:
                self.hive.do(Approve(project="default", run=task.run, path="ask", approved=approved))
                return

    @rule()
    def put_anew(self) -> None:
        """Another definition of a job that runs; sometimes after it was removed."""
        self.deleted += 1
        tasks = {**JOBS["fan"]["tasks"], f"more{self.deleted}": {"run": "true"}}
        if self.deleted % 3 == 0:
            self.hive.do(DeleteJob(project="default", name="fan"))
        self.hive.put("fan", **{**JOBS["fan"], "tasks": tasks})

    # -- what nodes do -----------------------------------------------------------------------------------------

    @rule(pick=st.integers(0, 100), outcome=st.sampled_from(OUTCOMES))
    def end(self, pick: int, outcome: dict[str, Any]) -> None:
        live = [a for a in self.hive.attempts() if a.desired is Desired.RUN]
        if live:
            self.report(live[pick % len(live)], outcome)

    @rule()
    def all_end_well(self) -> None:
        for attempt in [a for a in self.hive.attempts() if a.desired is Desired.RUN]:
            if attempt.id in self.hive.state.allocations:
                self.report(self.hive.state.allocations[attempt.id], OUTCOMES[0])

    @rule(well=st.booleans())
    def what_shall_stop_has(self, well: bool) -> None:
        for attempt in [a for a in self.hive.attempts() if a.desired is Desired.STOP]:
            self.report(attempt, OUTCOMES[0] if well else {"state": AllocationState.STOPPED})

    @rule(pick=st.integers(0, 100))
    def an_old_report_comes_again(self, pick: int) -> None:
        if self.told:
            told = sorted(self.told)[pick % len(self.told)]
            before = self.hive.state.digest()
            for node in ("node-0", "node-1"):
                ghost = Allocation(id=told, project="default", attempt=0, node=node)
                self.hive.tell(ghost, state=AllocationState.FAILED, exit_code=9)
            assert told not in self.hive.state.allocations
            del before

    def report(self, attempt: Allocation, outcome: dict[str, Any]) -> None:
        key = f"{attempt.run}/{attempt.path}"
        self.hive.tell(attempt, **outcome)
        self.told.add(attempt.id)
        assert attempt.id not in self.hive.state.allocations
        task = self.hive.state.task_runs.get(key)
        if task is not None and attempt.id not in task.allocations and len(task.attempts) < 10:
            assert any(attempt.id in each.allocations for each in task.attempts), "an outcome was lost"

    @rule(node=st.sampled_from(["node-0", "node-1"]), drained=st.booleans())
    def drain(self, node: str, drained: bool) -> None:
        if drained:
            self.hive.do(DrainNode(name=node))
        else:
            self.hive.do(UpdateNode(manifest=NodeManifest(name=node)))

    # -- what time does ----------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.01, 1, 7, 33, 130, 400]))
    def time_passes(self, seconds: float) -> None:
        self.hive.tick(seconds)

    @rule()
    def the_next_timer(self) -> None:
        due = self.hive.state.deadline()
        if due is not None and due < self.hive.time + 1_000_000:
            self.hive.tick(max(due - self.hive.time, 0) / 1000)

    @rule()
    def the_daemon_is_restarted(self) -> None:
        self.hive.twin = State.restore(self.hive.state.snapshot())
        other = self.hive.state.fork()
        assert other.digest() == self.hive.state.digest()

    # -- what never happens ------------------------------------------------------------------------------------

    @invariant()
    def both_are_the_same(self) -> None:
        if hasattr(self, "hive"):
            assert self.hive.twin is not None
            assert self.hive.twin.digest() == self.hive.state.digest()

    @invariant()
    def nothing_runs_twice_or_beyond_a_limit(self) -> None:
        if not hasattr(self, "hive"):
            return
        state = self.hive.state
        attempts = self.hive.attempts()
        assert len({(a.run, a.path, a.slot) for a in attempts}) == len(attempts)
        assert all(count <= self.slots for count in Counter(a.node for a in attempts).values())
        running = [t for t in state.task_runs.values() if t.allocations]
        assert not self.most or len(running) <= self.most
        shared = [t for t in running if lane_of(t.lane).key == "shared"]
        assert len(shared) <= 2
        alone = [t for t in shared if t.path == "b"]
        assert not alone or max(t.started for t in shared) >= min(t.started for t in alone)
        for attempt in attempts:
            task = state.task_runs[f"{attempt.run}/{attempt.path}"]
            assert attempt.id in task.allocations and attempt.attempt == task.attempt

    @invariant()
    def limits_of_runs_hold(self) -> None:
        if not hasattr(self, "hive"):
            return
        begun = [r for r in self.hive.state.runs.values() if r.state is RunState.RUNNING]
        counts = Counter(r.key for r in begun)
        assert counts["chain"] <= 2 and counts["gate"] <= 1
        assert sum(r.job_name == "ticks" for r in begun) <= 1

    @invariant()
    def rates_hold(self) -> None:
        if not hasattr(self, "hive"):
            return
        for attempt in self.hive.attempts():
            if attempt.path == "x" and attempt.id not in self.seen:
                self.seen.add(attempt.id)
                self.starts.append(attempt.placed)
        for index in range(len(self.starts) - 2):
            assert self.starts[index + 2] - self.starts[index] >= 30_000

    @invariant()
    def what_has_ended_is_over(self) -> None:
        if not hasattr(self, "hive"):
            return
        state = self.hive.state
        live = {a.run for a in self.hive.attempts()}
        for run in state.runs.values():
            if run.state.ended:
                assert run.id not in live
                for path in state.work.families.paths(run.id):
                    assert state.task_runs[f"{run.id}/{path}"].state.decided
        kept = Counter(r.job for r in state.runs.values() if r.state.ended and r.started)
        assert all(count <= 1000 for count in kept.values()) and kept[self.job("chain")] <= 3

    @invariant()
    def each_time_of_the_schedule_started_one_run(self) -> None:
        if not hasattr(self, "hive"):
            return
        runs = [r for r in self.hive.state.runs.values() if r.job_name == "ticks"]
        assert len({r.start.time for r in runs}) == len(runs)
        for run in runs:  # those that were skipped, because too many wait, are forgotten after a while
            assert self.fired.setdefault(run.start.time, run.number) == run.number
        gone = [*self.paused, *([(self.pausing, self.hive.time)] if self.pausing else [])]
        first = self.since // (EVERY * 1000) + 1
        last = self.hive.time // (EVERY * 1000)
        wanted = [n * EVERY * 1000 for n in range(first, last + 1)]
        wanted = [t for t in wanted if not any(a < t <= b for a, b in gone)]
        assert sorted(self.fired) == wanted

    def teardown(self) -> None:
        """Left alone, everything comes to its end."""
        if not hasattr(self, "hive"):
            return
        hive = self.hive
        for key in ("", "shared", "gate"):
            hive.do(PauseQueue(project="default", key=key, paused=False))
        hive.do(PauseJob(project="default", name="ticks", paused=True))
        for node in ("node-0", "node-1"):
            hive.do(UpdateNode(manifest=NodeManifest(name=node)))
        for run in list(hive.state.runs.values()):
            if run.paused and not run.state.ended:
                hive.do(PauseRun(project="default", run=run.id, paused=False))
        for _ in range(2000):
            if all(run.state.ended for run in hive.state.runs.values()):
                break
            self.what_shall_stop_has(False)
            self.all_end_well()
            hive.tick(31)
        assert all(run.state.ended for run in hive.state.runs.values())
        assert not hive.attempts() and not len(hive.state.work.tasks) and not len(hive.state.work.runs)
        assert hive.twin is not None and hive.twin.digest() == hive.state.digest()


TestJobs = Jobs.TestCase
TestJobs.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
