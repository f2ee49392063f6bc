"""Closing: what groups, fan-outs and the run come to when all in them is decided, and the hooks before that."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import Invalid
from hivemind.jobs.plan import child, is_member, parent_of
from hivemind.jobs.workflow import fanout
from hivemind.jobs.workflow.beginning import go
from hivemind.jobs.workflow.produced import outputs_of_group
from hivemind.jobs.workflow.retrying import may_retry, retry
from hivemind.jobs.workflow.shelving import shelve
from hivemind.jobs.workflow.stopping import stop
from hivemind.jobs.workflow.turn import CAME_TO, Turn, fans
from hivemind.model.run import Cause, TaskRun, TaskState

Outcome = tuple[TaskState, str]
"""And why."""


def follow(turn: Turn, place: str) -> None:
    """What was decided at `place` is looked at by the group or fan-out that it is part of."""
    part, group = turn.found(place), turn.found(parent_of(place))
    if group.state is not TaskState.RUNNING or not part.state.decided:
        return
    if _counts_as_failure(turn, part) and not turn.node(part).hook:
        group = _fail_fast(turn, group, part)
    look(turn, group)


def look_again(turn: Turn, place: str) -> None:
    """At a group that goes on."""
    group = turn.found(place)
    if group.state is TaskState.RUNNING:
        look(turn, group)


def look(turn: Turn, group: TaskRun) -> None:
    """At a group or fan-out, whether anything in it is left to be done."""
    if fans(turn.node(group), group.path):
        group = fanout.refill(turn, group)
        if not group.fate and group.made < group.total:
            return
    if not turn.undecided(group):
        _advance(turn, group)


def _fail_fast(turn: Turn, group: TaskRun, part: TaskRun) -> TaskRun:
    """The first failure stops the others; but what comes after the failed task, to deal with that, has its turn."""
    others = turn.undecided(group) or group.made < group.total
    if not turn.node(group).task.fail_fast or group.fate or not others:
        return group
    spared = set() if is_member(part.path) else {part.path, *_after(turn, part.path)}
    stop(turn, group, TaskState.FAILED, named(turn, part), spared=frozenset(spared))
    return turn.found(group.path)


def _after(turn: Turn, place: str) -> set[str]:
    """The tasks of the same group that wait for it, directly or for one that does."""
    first = turn.plan.node(place)
    found, fresh = {first}, [first]
    while fresh:
        for node in fresh.pop().dependents:
            if node.parent is first.parent and node not in found:
                found.add(node)
                fresh.append(node)
    return {child(parent_of(place), node.id) for node in found}


def _advance(turn: Turn, group: TaskRun) -> None:
    """All in it is decided: the next of its hooks has its turn, or that was all."""
    outcome = _tasks_outcome(turn, group)
    for hook in turn.hooks(group):
        if hook.state is not TaskState.PENDING:
            continue
        name = turn.node(hook).id
        if not _has_turn(name, outcome[0]):
            turn.decide(hook, TaskState.SKIPPED, f"there was no {name.removeprefix('on_')}")
            continue
        if name == "finally" and group.due:
            turn.put(replace(group, due=0))  # nothing cuts short what cleans up
        go(turn, replace(hook, ready=turn.now))
        return
    _conclude(turn, group, *_with_hooks(turn, group, outcome))


def _has_turn(hook: str, outcome: TaskState) -> bool:
    match hook:
        case "on_failure":
            return outcome.failure
        case "on_success":
            return outcome is TaskState.SUCCEEDED
    return True


def _conclude(turn: Turn, group: TaskRun, state: TaskState, why: str) -> None:
    outputs = {}
    if state is TaskState.SUCCEEDED:
        try:
            outputs = outputs_of_group(turn, group)
        except Invalid as error:
            state, why = TaskState.FAILED, error.message
    cause: Cause = "timeout" if state is TaskState.TIMED_OUT else "exit"
    is_group = turn.plan.role(group.path) == "group"
    if state.failure and is_group and may_retry(turn, group, cause, why):
        shelve(turn, group)
        retry(turn, group, why)
    else:
        turn.decide(group, state, why, outputs=outputs)


def _tasks_outcome(turn: Turn, group: TaskRun) -> Outcome:
    """What the tasks of a group, or the members of a fan-out, make of it."""
    if group.fate:
        return group.fate, group.reason
    failures, canceled = [], []
    for part in turn.tasks(group):
        if part.state.failure and (is_member(part.path) or _counts_as_failure(turn, part)):
            failures.append(part)
        elif part.state is TaskState.CANCELED:
            canceled.append(part)
    if failures:
        return TaskState.FAILED, named(turn, min(failures, key=lambda part: part.ended))
    if canceled:
        return TaskState.CANCELED, named(turn, canceled[0])
    return TaskState.SUCCEEDED, ""


def _with_hooks(turn: Turn, group: TaskRun, outcome: Outcome) -> Outcome:
    """A hook that fails makes its group fail, if nothing else did; one that was canceled makes it canceled."""
    for hook in turn.hooks(group):
        if hook.state.failure and not outcome[0].failure:
            outcome = TaskState.FAILED, named(turn, hook)
        elif hook.state is TaskState.CANCELED and outcome[0] is TaskState.SUCCEEDED:
            outcome = TaskState.CANCELED, named(turn, hook)
    return outcome


def _counts_as_failure(turn: Turn, part: TaskRun) -> bool:
    return part.state.failure and not turn.node(part).task.allow_failure


def named(turn: Turn, part: TaskRun) -> str:
    """Why it came to that, with the place where it began."""
    if part.reason.startswith((f"{part.path}.", f"{part.path}[")):
        return part.reason
    return f"{part.path} {CAME_TO.get(part.state, part.state)}{part.reason and ': '}{part.reason}"
