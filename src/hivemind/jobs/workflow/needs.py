"""Needs: whether a task may begin, or never can.

             what it waited for came to
need         succeeded  failed, timed out, lost  canceled  skipped
success      met        met if its failure is allowed      never
failure      never      met                      never     never
done         met        met                      never     never
always       met        met                      met       met
expression   whatever it says of `result`, `state`, `outputs`, `exit_code`

In a sequence a task needs the one before it with success, or skipped by its own condition.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from hivemind.errors import Invalid
from hivemind.jobs.context import told
from hivemind.jobs.expression import truth
from hivemind.jobs.plan import PASSED, Node, beside, child, is_member, parent_of
from hivemind.jobs.workflow.beginning import ready
from hivemind.jobs.workflow.turn import CAME_TO, Turn, fans
from hivemind.model.run import TaskRun, TaskState


def look(turn: Turn, place: str) -> None:
    """At all that a new task needs; some of it may be decided already."""
    task = turn.found(place)
    for needed in _needed(turn, task):
        other = turn.book.get(beside(place, needed))
        if other is not None and other.state.decided and not _judge(turn, task, needed, other):
            return
    _look_on(turn, task)


def _look_on(turn: Turn, task: TaskRun) -> None:
    """From the first of its needs that was not decided before, up to the next such. Without any it begins."""
    needed = _needed(turn, task)
    for met in range(task.met, len(needed)):
        other = turn.book.get(beside(task.path, needed[met]))
        if other is None or not other.state.decided:
            if met > task.met:
                turn.put(replace(task, met=met))
            return
        if not _judge(turn, task, needed[met], other):
            return
    ready(turn, replace(task, met=len(needed)))


def _needed(turn: Turn, task: TaskRun) -> list[Node]:
    """A member of a fan-out needs nothing more: the fan-out has begun."""
    return [] if is_member(task.path) else turn.node(task).needed


def follow(turn: Turn, place: str) -> None:
    """What was decided at `place` is looked at by everyone who waits for it."""
    decided = turn.found(place)
    if not decided.state.decided:
        return
    needed = turn.node(decided)
    for task in waiting_for(turn, place):
        if task.state is not TaskState.PENDING:
            continue
        # Until the first undecided of its needs is decided nothing else matters but that none is unmet: so a task
        # with thousands of needs looks at each of them but twice.
        first = turn.node(task).needed[task.met]
        if _judge(turn, task, needed, decided) and first is needed:
            _look_on(turn, task)


def waiting_for(turn: Turn, place: str) -> Iterator[TaskRun]:
    """Every task run that needs the one at `place`, as far as the groups they are in have begun."""
    needed = turn.plan.node(place)
    if not place or (needed.fans and not fans(needed, place)):
        return  # nobody waits for the run, or for a single member
    for node in needed.dependents:
        for waiting in _places(turn, parent_of(place), needed, node):
            if (task := turn.book.get(waiting)) is not None:
                yield task


def _judge(turn: Turn, task: TaskRun, needed: Node, other: TaskRun) -> bool:
    """Whether that need is met. If not, its outcome is decided."""
    need = turn.node(task).needs[needed]
    try:
        if _meets(turn, need, needed, other):
            return True
    except Invalid as error:
        turn.decide(task, TaskState.FAILED, f"what it needs of {needed.id}: {error.message}")
        return False
    wished = "success" if need == PASSED else need
    came_to = CAME_TO.get(other.state, other.state)
    turn.decide(task, TaskState.SKIPPED, f"needs {needed.id}: {wished}, and it {came_to}")
    return False


def _meets(turn: Turn, need: str, needed: Node, other: TaskRun) -> bool:
    succeeded = other.state is TaskState.SUCCEEDED
    failed = other.state.failure
    match need:
        case "success":
            return succeeded or (failed and needed.task.allow_failure)
        case "failure":
            return failed
        case "done":
            return succeeded or failed
        case "always":
            return True
        case "passed":
            return succeeded or (failed and needed.task.allow_failure) or _left_out(other)
    return truth(need, told(turn.book, other.path, needed))


def _left_out(task: TaskRun) -> bool:
    """Its own condition skipped it: all that it needs was there."""
    return task.state is TaskState.SKIPPED and task.ready > 0


def _places(turn: Turn, group: str, needed: Node, waiting: Node) -> Iterator[str]:
    """Where `waiting` stands in `group`, which `needed` is directly in: in each member of every fan-out between."""
    between = [each for each in waiting.around() if each.depth >= needed.depth]
    places = [group]
    for node in reversed(between):
        places = [inner for outer in places for inner in _groups(turn, child(outer, node.id), node)]
    for place in places:
        yield child(place, waiting.id)


def _groups(turn: Turn, place: str, node: Node) -> Iterator[str]:
    """The group at that place, or the members of it, as far as they have begun."""
    task = turn.book.get(place)
    if task is None:
        return
    if node.fans:
        yield from (part.path for part in turn.tasks(task))
    else:
        yield place
