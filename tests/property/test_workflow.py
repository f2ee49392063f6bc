"""What never happens in a run, whatever its definition, and whatever nodes, people and time do in whatever order.

The workflow is made anew for every event, from a book that is encoded and decoded now and then: that is what a crash
at any instant comes to. Events are told twice, late and with numbers of older attempts.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dict_book import DictBook
from hivemind.errors import HivemindError
from hivemind.jobs.book import Ended
from hivemind.jobs.plan import is_member, parent_of
from hivemind.jobs.workflow import Workflow, alarm, next_attempt
from hivemind.jobs.workflow.shelving import shelved
from hivemind.model.base import decode, encode
from hivemind.model.job import Approval, JobSpec, Retry, Task
from hivemind.model.run import Run, RunState, TaskRun, TaskState
from workflow_oracle import unjustified

NEEDS = [
    "success", "failure", "done", "always", "result == 'skipped'", "exit_code == 1", "outputs.n == '1'", "1 +",
]  # fmt: skip
BAD = "inputs.nothing.at.all"


@st.composite
def tasks(draw: st.DrawFn, depth: int, outer: tuple[str, ...], prefix: str) -> dict[str, Task]:
    """Tasks of one group, each with needs of earlier ones and of `outer` ones, so that nothing waits for itself."""
    made: dict[str, Task] = {}
    for number in range(draw(st.integers(1, 4))):
        name = f"{prefix}{number}"
        known = [*made, *outer]
        needs = (
            draw(st.dictionaries(st.sampled_from(known), st.sampled_from(NEEDS), max_size=2)) if known else {}
        )
        made[name] = draw(task(depth, tuple(known), name, needs))
    return made


@st.composite
def task(draw: st.DrawFn, depth: int, known: tuple[str, ...], name: str, needs: dict[str, str]) -> Task:
    role = draw(st.sampled_from(["run", "run", "run", "approval", "job", "group", "group"]))
    fields: dict[str, Any] = {
        "needs": needs,
        "allow_failure": draw(st.booleans()),
        "fail_fast": draw(st.booleans()),
    }
    if role == "group" and depth < 2:
        fields["tasks"] = draw(tasks(depth + 1, known, f"{name}x"))
        fields["sequence"] = draw(st.booleans())
        fields["order"] = tuple(sorted(fields["tasks"]))
        fields |= draw(hooks(name))
        fields["timeout"] = draw(st.sampled_from([0.0, 0.0, 5.0]))
    elif role == "approval":
        fields["approval"] = Approval(
            timeout=draw(st.sampled_from([0.0, 3.0])), default=draw(st.sampled_from(["reject", "approve"]))
        )
    elif role == "job":
        fields |= {"job": "other", "timeout": draw(st.sampled_from([0.0, 5.0]))}
    else:
        fields |= {"run": "true", "nodes": draw(st.sampled_from([1, 1, 2]))}
    fields["retry"] = Retry(
        max=draw(st.integers(0, 1)),
        delay=draw(st.sampled_from([0.0, 2.0])),
        losses=draw(st.integers(0, 1)),
        on=draw(st.sampled_from([(), (), ("exit:1",), ("timeout",)])),
    )
    if draw(st.integers(0, 3)) == 0:
        fields["for_each"] = draw(st.sampled_from([[], [0], [0, 1, 2], "[1, 2]", BAD]))
        fields["max_parallel"] = draw(st.integers(0, 2))
    fields["if_"] = draw(
        st.sampled_from(["", "", "", "", "false", BAD, "index != 1" if "for_each" in fields else ""])
    )
    return Task(**fields)


@st.composite
def hooks(draw: st.DrawFn, name: str) -> dict[str, Any]:
    found = {}
    for hook in ("finally_", "on_failure", "on_success"):
        if draw(st.booleans()):
            found[hook] = {
                "h0": Task(run="true"),
                **({"h1": Task(run="true", needs={"h0": "done"})} if draw(st.booleans()) else {}),
            }
    return found


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    made = draw(tasks(0, (), "t"))
    return JobSpec(
        tasks=made,
        sequence=draw(st.booleans()),
        order=tuple(sorted(made)),
        fail_fast=draw(st.booleans()),
        timeout=draw(st.sampled_from([0.0, 0.0, 20.0])),
        deadline=draw(st.sampled_from([0.0, 10.0])),
        **draw(hooks("")),
    )


ENDINGS = [
    Ended(exit_code=0),
    Ended(exit_code=0, outputs={"n": "1"}),
    Ended(exit_code=1),
    Ended(exit_code=2),
    Ended(cause="signal", exit_code=137),
    Ended(cause="lost"),
    Ended(cause="preempted"),
    Ended(cause="timeout"),
    Ended(cause="circuit"),
    Ended(cause="start", reason="no such image"),
]


class WatchedBook(DictBook):
    """Says at once when something is written that never may be."""

    redoing = False

    def put(self, task: TaskRun) -> None:
        old = self.tasks.get(task.path)
        if old is not None:
            assert task.attempt in (old.attempt, old.attempt + 1), (
                "an attempt number was used twice, or left out"
            )
            if old.state.decided and task.state is not old.state and not shelved(old):
                assert self.redoing or self.within_retry(task.path), (
                    f"{task.path} was {old.state}, now {task.state}"
                )
        super().put(task)

    def within_retry(self, place: str) -> bool:
        """A group around it may be tried again as a whole."""
        return any(group.task.retry.max for group in (*self.plan.node(place).around(), self.plan.node(place)))

    def put_run(self, run: Run) -> None:
        if self.run.state.ended:
            assert self.redoing or run.state is self.run.state, "a run ended twice"
        super().put_run(run)

    def halt(self, task: TaskRun, why: str, *, kill: bool = False) -> None:
        assert self.tasks[task.path].state is TaskState.RUNNING
        super().halt(task, why, kill=kill)


class Runs(RuleBasedStateMachine):
    @initialize(spec=specs())
    def start(self, spec: JobSpec) -> None:
        self.book = WatchedBook(decode(encode(spec), JobSpec))
        self.live: dict[str, dict[int, int]] = {}
        """Place -> rank -> attempt, of all that runs on nodes."""
        self.told: list[tuple[str, int, int, Ended]] = []
        self.workflow.begin()

    @property
    def workflow(self) -> Workflow:
        return Workflow(self.book.plan, self.book)

    def some(self, number: int, *states: TaskState) -> TaskRun | None:
        found = sorted((t for t in self.book.tasks.values() if t.state in states), key=lambda t: t.path)
        return found[number % len(found)] if found else None

    # What nodes do.

    @rule(number=st.integers(0, 30))
    def place(self, number: int) -> None:
        task = self.some(number, TaskState.QUEUED)
        if task is None:
            return
        assert task.path not in self.live, "two live attempts of one task"
        assert not self.book.run.paused
        size = self.book.plan.node(task.path).task.nodes
        attempt = next_attempt(task)
        names = [f"{task.path}/{attempt}/{rank}" for rank in range(size)]
        assert self.workflow.placed(task.path, names, ["n"] * size)
        assert not self.workflow.placed(task.path, names, ["n"] * size)
        self.live[task.path] = dict.fromkeys(range(size), attempt)
        assert self.book.tasks[task.path].attempt == attempt

    @precondition(lambda self: self.live)
    @rule(number=st.integers(0, 30), rank=st.integers(0, 1), how=st.sampled_from(ENDINGS))
    def end(self, number: int, rank: int, how: Ended) -> None:
        place = sorted(self.live)[number % len(self.live)]
        ranks = self.live[place]
        rank = sorted(ranks)[rank % len(ranks)]
        if place in self.book.halted and how.exit_code != 0:
            how = Ended(cause="canceled", reason="it was told to stop")
        event = (place, ranks.pop(rank), rank, how)
        if not ranks:
            del self.live[place]
            if place in self.book.halted:
                self.book.halted.remove(place)
        fate = self.book.tasks[place].fate
        self.workflow.ended(*event)
        self.workflow.ended(*event)
        self.told.append(event)
        if fate and not ranks and how.exit_code != 0:
            assert self.book.tasks[place].state in (fate, TaskState.SKIPPED, TaskState.PENDING), "it went on"

    @precondition(lambda self: self.told)
    @rule(number=st.integers(0, 30))
    def end_late(self, number: int) -> None:
        place, attempt, rank, how = self.told[number % len(self.told)]
        before = dict(self.book.tasks)
        if rank not in self.live.get(place, {}) or self.live[place][rank] != attempt:
            self.workflow.ended(place, attempt, rank, how)
            assert self.book.tasks == before

    @rule(number=st.integers(0, 30), state=st.sampled_from(["succeeded", "failed", "canceled", "timed out"]))
    def end_child(self, number: int, state: str) -> None:
        task = self.some(number, TaskState.RUNNING)
        if task is not None and task.child and self.book.plan.role(task.path) == "job":
            run = self.book.child_run(task.path, RunState(state))
            self.workflow.child_ended(task.path, run)
            self.workflow.child_ended(task.path, run)

    # What people do.

    @rule(number=st.integers(0, 30), yes=st.booleans())
    def approve(self, number: int, yes: bool) -> None:
        task = self.some(number, TaskState.BLOCKED)
        if task is not None:
            try:
                self.workflow.approve(task.path, yes, "ann")
            except HivemindError:
                assert self.book.tasks[task.path] is task

    @rule(seconds=st.sampled_from([0, 2, 5, 20]))
    def wait(self, seconds: int) -> None:
        self.book.now += seconds * 1000
        while due := sorted(t.path for t in self.book.tasks.values() if 0 < t.due <= self.book.now):
            self.workflow.tick(due[0])
        if 0 < alarm(self.book.run, self.book.spec) <= self.book.now:
            self.workflow.tick_run()
            assert not 0 < alarm(self.book.run, self.book.spec) <= self.book.now

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        if paused:
            self.workflow.pause("ann")
        else:
            self.workflow.unpause("ann")

    @rule(kill=st.booleans(), chance=st.integers(0, 9))
    def cancel(self, kill: bool, chance: int) -> None:
        if not chance:
            self.workflow.cancel("it was wished", "ann", kill=kill)

    @rule(number=st.integers(0, 200))
    def cancel_one(self, number: int) -> None:
        places = sorted(self.book.tasks)
        if number < len(places):
            self.workflow.cancel_tasks([places[number]], "it was wished", "ann")

    @precondition(lambda self: self.book.run.state.ended)
    @rule(number=st.integers(0, 60))
    def retry(self, number: int) -> None:
        places = sorted(self.book.tasks)
        before, run = dict(self.book.tasks), self.book.run
        self.book.redoing = True
        try:
            self.workflow.retry(places[number : number + 1], "ann")
        except HivemindError:
            assert (self.book.tasks, self.book.run) == (before, run)
        self.book.redoing = False

    @rule()
    def crash(self) -> None:
        self.book.tasks = {place: decode(encode(task), TaskRun) for place, task in self.book.tasks.items()}
        self.book.run = decode(encode(self.book.run), Run)
        self.book.now += 1

    @rule()
    def finish(self) -> None:
        """Whatever is left to be done is done, and the run ends."""
        self.workflow.unpause("ann")
        for _ in range(3000):
            if self.book.run.state.ended:
                return
            self.place(0)
            if self.live:
                self.end(0, 0, Ended(exit_code=0))
            self.end_children()
            self.wait(20)
            self.approve(0, True)
        raise AssertionError(f"the run never ends: {self.undecided()}")

    def end_children(self) -> None:
        for task in list(self.book.tasks.values()):
            if task.child and task.state is TaskState.RUNNING:
                self.workflow.child_ended(task.path, self.book.child_run(task.path, RunState.SUCCEEDED))

    def undecided(self) -> list[tuple[str, TaskState]]:
        return [(t.path, t.state) for t in self.book.tasks.values() if not t.state.decided]

    # What always holds.

    @invariant()
    def what_runs_is_known_to_run(self) -> None:
        for place in self.live:
            assert self.book.tasks[place].state is TaskState.RUNNING, place
        for task in self.book.tasks.values():
            if task.allocations:
                assert set(self.live[task.path]) == set(range(len(task.allocations))) - set(
                    task.ended_members
                )

    @invariant()
    def every_outcome_is_justified(self) -> None:
        found = unjustified(self.book)
        assert not found, found

    @invariant()
    def an_ended_run_leaves_nothing(self) -> None:
        if not self.book.run.state.ended:
            return
        assert not self.live
        assert not self.undecided()

    @invariant()
    def no_more_members_at_a_time_than_there_may_be(self) -> None:
        """Also of a run that was resumed, in which some of them only go on."""
        undecided = Counter(parent_of(t.path) for t in self.book.tasks.values() if not t.state.decided)
        for task in self.book.tasks.values():
            most = self.book.plan.node(task.path).task.max_parallel
            if most and not is_member(task.path):
                assert undecided[task.path] <= most, task.path

    @invariant()
    def a_run_that_goes_on_has_a_reason_to(self) -> None:
        """Someone or something is bound to happen."""
        if self.book.run.state.ended or self.book.run.paused:
            return
        assert any(
            task.state is TaskState.QUEUED
            or task.allocations
            or (task.child and task.state is TaskState.RUNNING)
            or (task.state is TaskState.BLOCKED)
            for task in self.book.tasks.values()
        ), self.undecided()

    def teardown(self) -> None:
        if hasattr(self, "book"):
            self.finish()
            self.every_outcome_is_justified()
            self.an_ended_run_leaves_nothing()


Runs.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestRuns = Runs.TestCase
