"""One turn of a workflow: the records it works on, and what is still to be followed up.

The run itself is dealt with like the groups in it, as the task run whose place is "".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from hivemind.errors import HivemindError, Invalid
from hivemind.jobs.book import MOST_TASKS, Book
from hivemind.jobs.context import scope
from hivemind.jobs.plan import Node, Plan, child, is_member, member
from hivemind.model.run import UNDECIDED, Mark, Run, RunState, TaskRun, TaskState

MARKS = 50
"""So many of the newest transitions are remembered."""
CAME_TO = {TaskState.CANCELED: "was canceled", TaskState.LOST: "was lost", TaskState.SKIPPED: "was skipped"}
"""States in a sentence; the others are verbs already."""


FULL = f"its run has {MOST_TASKS:,} tasks, and that is the most"


class Turn:
    def __init__(self, plan: Plan, book: Book) -> None:
        self.plan = plan
        self.book = book
        self.made = 0
        """Task runs that are new since the event that is being dealt with."""
        self.decided: deque[str] = deque()
        """Places that were decided, and about which those who depend on them do not know yet."""
        self.fresh: deque[str] = deque()
        """Places of tasks that are there, but whose needs nobody has looked at yet."""
        self.reopened: list[str] = []
        """Places of groups that go on, the outer ones first, in which there may be nothing left to be done."""

    @property
    def run(self) -> Run:
        return self.book.run

    @property
    def now(self) -> int:
        return self.book.now

    def node(self, task: TaskRun) -> Node:
        return self.plan.node(task.path)

    def scope(self, place: str) -> Mapping[str, Any]:
        return scope(self.book, self.plan, place)

    # Records.

    def get(self, place: str) -> TaskRun | None:
        return self.book.get(place) if place else _root(self.run)

    def found(self, place: str) -> TaskRun:
        """Of a place that has a task run for sure."""
        task = self.get(place)
        assert task is not None, place
        return task

    def put(self, task: TaskRun) -> TaskRun:
        if task.path:
            self.book.put(task)
        else:
            self.book.put_run(_as_run(self.run, task))
        return task

    def turn(self, task: TaskRun, state: TaskState, why: str = "", by: str = "", **changed: Any) -> TaskRun:
        """The task run goes over to that state, on record."""
        return self.put(marked(task, self.now, state, why, by, **changed))

    def decide(self, task: TaskRun, state: TaskState, why: str = "", by: str = "", **changed: Any) -> None:
        """Its outcome, which is final unless people ask for it to be done again."""
        over = {"allocations": (), "ended_members": (), "ending": None, "fate": None, "due": 0}
        self.turn(task, state, why, by, **{**over, "ended": self.now, **changed})
        if task.path:
            self.decided.append(task.path)
        else:
            self.book.notify(str(state), why)

    def make(
        self, place: str, why: str = "", state: TaskState = TaskState.PENDING, by: str = "", **given: Any
    ) -> None:
        """A new task run, with what is worth keeping of one that was there before."""
        self.made += 1
        task = TaskRun(run=self.run.id, path=place, created=self.now, state=state, **given)
        if (old := self.book.get(place)) is not None:
            kept = {
                "attempt": old.attempt,
                "attempts": old.attempts,
                "marks": old.marks,
                "created": old.created,
            }
            task = marked(replace(task, **kept), self.now, state, why, by)
        self.put(task)

    def check_room(self, count: int) -> None:
        """Raises `Invalid` unless the run may have so many further task runs."""
        if count > self.book.room:
            raise Invalid(FULL)

    @contextmanager
    def charged(self, task: TaskRun) -> Iterator[None]:
        """Whatever is wrong with its definition fails that task, and nothing else."""
        try:
            yield
        except HivemindError as error:
            self.decide(task, TaskState.FAILED, error.message)

    # What is in what.

    def tasks(self, group: TaskRun) -> Iterator[TaskRun]:
        """The task runs directly in a group, without its hooks, or the members to which a fan-out has come."""
        node = self.node(group)
        if fans(node, group.path):
            places = (member(group.path, index) for index in range(group.made))
        else:
            places = (child(group.path, name) for name in node.children)
        return self._there(places)

    def hooks(self, group: TaskRun) -> Iterator[TaskRun]:
        """Of a group, in the order of their turn. A fan-out has none, its members have."""
        node = self.node(group)
        return self._there(child(group.path, name) for name in node.hooks if not fans(node, group.path))

    def parts(self, group: TaskRun) -> Iterator[TaskRun]:
        yield from self.tasks(group)
        yield from self.hooks(group)

    def _there(self, places: Iterable[str]) -> Iterator[TaskRun]:
        for place in places:
            if (task := self.book.get(place)) is not None:
                yield task

    def live(self, group: TaskRun) -> Iterator[TaskRun]:
        """Whatever in it is undecided, at any depth, but hooks whose turn has not come; groups before their parts."""
        for part in self.parts(group):
            if not part.state.decided and not self.waits_its_turn(part):
                yield part
                yield from self.live(part)

    def waits_its_turn(self, task: TaskRun) -> bool:
        return task.state is TaskState.PENDING and self.node(task).hook

    def undecided(self, group: TaskRun) -> int:
        """How many parts are undecided, but for hooks whose turn has not come. Looks at none but the hooks."""
        tally = self.book.tally(group.path)
        return sum(tally.get(state, 0) for state in UNDECIDED) - sum(
            map(self.waits_its_turn, self.hooks(group))
        )


def fans(node: Node, place: str) -> bool:
    """It is the fan-out as a whole."""
    return node.fans and not is_member(place)


def deadline(turn: Turn, node: Node, place: str) -> int:
    """When it is too late for that group or call. What is fanned out has a limit for each member, none for all."""
    limit = 0.0 if fans(node, place) else node.task.timeout
    return turn.now + round(limit * 1000) if limit else 0


def marked(task: TaskRun, now: int, state: TaskState, why: str = "", by: str = "", **changed: Any) -> TaskRun:
    marks = (*task.marks[1 - MARKS :], Mark(now, str(state), why, by))
    return replace(task, state=state, reason=why, marks=marks, **changed)


def _root(run: Run) -> TaskRun:
    return TaskRun(
        run=run.id,
        path="",
        state=TaskState(run.state),
        reason=run.reason or run.canceling,
        fate=TaskState(run.fate) if run.fate else None,
        due=run.due,
        outputs=run.outputs,
        created=run.created,
        started=run.started,
        ended=run.ended,
        marks=run.marks,
    )


def _as_run(run: Run, root: TaskRun) -> Run:
    ended = root.state.decided
    return replace(
        run,
        state=RunState(root.state),
        reason=root.reason if ended else "",
        canceling=root.reason if root.fate else "",
        fate=RunState(root.fate) if root.fate else None,
        due=root.due,
        outputs=root.outputs,
        started=root.started,
        ended=root.ended,
        marks=root.marks,
    )
