"""Resuming: an ended run goes on. Some of it is done again, the outcomes and outputs of the rest are kept.

Done again is what was chosen and whatever comes after it: each task that needs one of them, or needs a group with one
of them in it. These groups are open once more, and their hooks have their turn again. Members of a fan-out that only go
on wait for their turn as those do that begin: no more of them at a time than there may be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from hivemind.errors import Conflict, Invalid, NotFound
from hivemind.jobs.plan import HOOKS, is_member, member, parent_of
from hivemind.jobs.workflow import closing
from hivemind.jobs.workflow.beginning import open_group
from hivemind.jobs.workflow.needs import waiting_for
from hivemind.jobs.workflow.reopening import reopen
from hivemind.jobs.workflow.shelving import AGAIN, is_put_off, put_away, put_off, shelve
from hivemind.jobs.workflow.turn import Turn
from hivemind.model.run import TaskRun, TaskState


def resume(turn: Turn, places: Sequence[str], by: str) -> None:
    run = turn.run
    if not run.state.ended:
        raise Conflict(f"{run.name} has not ended", hint=f"hivemind job cancel {run.name}")
    spreading = _Spreading(turn)
    if places:
        for place in places:
            _check(turn, place)
            spreading.redo(place)
    else:
        _choose(turn, turn.found(""), spreading)
    spreading.finish()
    if not spreading.opened and not spreading.again:
        raise Conflict(
            f"nothing of {run.name} failed",
            hint=f"name what to begin with: hivemind job retry {run.name} --from TASK",
        )
    later = {place for place in spreading.opened if _in_member(place)}
    for place in sorted(spreading.opened):
        if place in later:
            put_off(turn, turn.found(place))
        else:
            reopen(turn, turn.found(place), by)
    for place in sorted(spreading.again):
        _redo(turn, place, by, later=not later.isdisjoint(_around(place)))
    for place in sorted(spreading.opened - later, reverse=True):
        closing.look(turn, turn.found(place))


class _Spreading:
    """Finds what is done again, and the groups and fan-outs that are open for it."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._new: deque[str] = deque()
        self.again: set[str] = set()
        self.opened: set[str] = set()

    def redo(self, place: str) -> None:
        if place in self.again:
            return
        self.again.add(place)
        self._new.append(place)
        if place:
            self.open(parent_of(place))

    def open(self, place: str) -> None:
        """And all around it."""
        while place not in self.opened:
            if not self._turn.found(place).started:
                self.redo(place)  # it did not begin this time, so that there is nothing to go on with
                return
            self.opened.add(place)
            self._new.append(place)
            if not place:
                return
            place = parent_of(place)

    def finish(self) -> None:
        """All that comes after those is found; what is in others that are done again goes without saying."""
        while self._new:
            for task in waiting_for(self._turn, self._new.popleft()):
                hooked = _hooked(task.path)
                if hooked is None:
                    self.redo(task.path)
                else:
                    self.open(hooked)
        whole = self.again
        self.again = {place for place in whole if not whole.intersection(_around(place))}
        self.opened -= whole
        self.opened = {place for place in self.opened if not whole.intersection(_around(place))}


def _check(turn: Turn, place: str) -> None:
    """A place that a person named."""
    if turn.get(place) is None:
        raise NotFound(f"{turn.run.name} has no task {place}", hint=f"hivemind job status {turn.run.name}")
    if _hooked(place) is not None:
        raise Invalid(f"{place} is of a hook, which runs again by itself", hint="name a task of the job")


def _choose(turn: Turn, group: TaskRun, spreading: _Spreading) -> None:
    """What failed or was canceled in it, as deep as possible."""
    if not group.started:
        spreading.redo(group.path)
        return
    if group.made < group.total:
        first = member(group.path, group.made)  # and all after it, to which the fan-out did not come
        old = turn.get(first)
        if old is not None and is_put_off(old):
            spreading.open(group.path)
        else:
            spreading.redo(first)
    for part in turn.tasks(group):
        if not _to_be_redone(turn, part):
            continue
        if turn.plan.role(part.path) in ("group", "fan-out"):
            _choose(turn, part, spreading)
        else:
            spreading.redo(part.path)
    if group.state is not TaskState.SUCCEEDED:
        spreading.open(group.path)


def _to_be_redone(turn: Turn, part: TaskRun) -> bool:
    allowed = turn.node(part).task.allow_failure and not is_member(part.path)
    return part.state is TaskState.CANCELED or (part.state.failure and not allowed)


def _redo(turn: Turn, place: str, by: str, *, later: bool) -> None:
    """`later`: when what it is in has its turn."""
    task = turn.get(place)
    if task is not None:  # otherwise a member to which its fan-out did not come
        shelve(turn, task)
    if not place:
        open_group(turn, turn.found(place))
    elif not is_member(place) and not later:
        turn.make(place, AGAIN, by=by)
        turn.fresh.append(place)
    elif task is not None:
        put_away(turn, task)


def _hooked(place: str) -> str | None:
    """The group whose hook it is in, or is."""
    parts = place.split(".")
    for depth, part in enumerate(parts):
        if part in HOOKS:
            return ".".join(parts[:depth])
    return None


def _in_member(place: str) -> bool:
    """It is a member of a fan-out, or in one."""
    return is_member(place) or any(map(is_member, _around(place)))


def _around(place: str) -> Iterator[str]:
    """The groups and fan-outs that it is in, from the innermost to the run."""
    while place:
        place = parent_of(place)
        yield place
