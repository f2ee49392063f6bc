"""The scope: what expressions of a run can speak of, each value looked up when it is asked for.

`inputs`      of the run; secret ones sealed
`needs`       by id what the task waited for: `result` (success, failure, canceled, skipped; empty: undecided), `state`
              (the exact word), `outputs`, `exit_code`; of a fan-out `outputs.<name>` and `results` are lists by index
`tasks`       the same of every task beside it or around it
`item`, `matrix`, `index`, `total`    of the member that it is or is in; of nested ones the innermost wins
`run`         `id name number job project due attempt trigger by`
`event`       what came with the event that started the run
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hivemind.jobs.book import Book
from hivemind.jobs.expression import Sealed
from hivemind.jobs.plan import Node, Plan, beside, fanout_of, is_member, member
from hivemind.model.run import Run, TaskRun, TaskState, input_context

_RESULTS = {TaskState.SUCCEEDED: "success", TaskState.CANCELED: "canceled", TaskState.SKIPPED: "skipped"}


class Lazy(Mapping[str, Any]):
    """A mapping whose values are made when they are first read, but for those that are `known`."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]], known: Mapping[str, Any] = {}) -> None:
        self._makers = makers
        self._known = dict(known)

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self._makers[name]()
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._makers, **self._known})

    def __len__(self) -> int:
        return len(self._makers.keys() | self._known.keys())


def scope(book: Book, plan: Plan, place: str) -> Mapping[str, Any]:
    """For expressions of the task run at `place`; of a group they may speak of the tasks in it, too."""
    node = plan.node(place)
    makers: dict[str, Callable[[], Any]] = {
        "inputs": lambda: _inputs(book.run),
        "needs": lambda: Lazy({each.id: _told_later(book, place, each) for each in node.needs}),
        "tasks": lambda: _tasks(book, place, node),
        "run": lambda: _run(book.run, book.get(place) if place else None),
        "event": lambda: book.run.start.event,
    }
    return Lazy(makers, _member(book, plan, place))


def told(book: Book, place: str, node: Node) -> Mapping[str, Any]:
    """What the task run at `place`, of `node`, has come to."""
    task = book.get(place)
    makers: dict[str, Callable[[], Any]] = {
        "result": lambda: result(task.state) if task else "",
        "state": lambda: str(task.state) if task else "",
        "exit_code": lambda: task.exit_code if task else None,
        "outputs": lambda: task.outputs if task else {},
    }
    if node.fans and not is_member(place):
        makers["results"] = lambda: [result(each.state) for each in _members(book, task)]
        makers["outputs"] = lambda: _gathered(book, task)
    return Lazy(makers)


def result(state: TaskState) -> str:
    return _RESULTS.get(state, "failure" if state.failure else "")


def _told_later(book: Book, place: str, node: Node) -> Callable[[], Any]:
    return lambda: told(book, beside(place, node), node)


def _tasks(book: Book, place: str, node: Node) -> Mapping[str, Any]:
    """By id; where names repeat, what is nearer hides what is farther."""
    makers: dict[str, Callable[[], Any]] = {}
    for group in reversed([node, *node.around()]):
        for name, each in group.children.items():
            makers[name] = _told_within(book, place, node, each)
    return Lazy(makers)


def _told_within(book: Book, place: str, node: Node, each: Node) -> Callable[[], Any]:
    if each.parent is node and place:
        return lambda: told(book, f"{place}.{each.id}", each)
    return _told_later(book, place, each)


def _members(book: Book, fanout: TaskRun | None) -> Iterator[TaskRun]:
    """In the order of their index; one that there is none of counts as skipped."""
    for index in range(fanout.total if fanout else 0):
        assert fanout is not None
        place = member(fanout.path, index)
        yield book.get(place) or TaskRun(run=fanout.run, path=place, state=TaskState.SKIPPED)


def _gathered(book: Book, fanout: TaskRun | None) -> Mapping[str, Any]:
    """Name -> a list with the output of that name of each member, null where it has none."""
    outputs = [each.outputs for each in _members(book, fanout)]
    names = {name: None for each in outputs for name in each}
    return {name: [each.get(name) for each in outputs] for name in names}


def _inputs(run: Run) -> Mapping[str, Any]:
    sealed = {
        name: Sealed(box, input_context(run.project, run.job_name, name)) for name, box in run.sealed.items()
    }
    return {**run.inputs, **sealed}


def _run(run: Run, task: TaskRun | None) -> Mapping[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "number": run.number,
        "job": run.job_name,
        "project": run.project,
        "due": run.start.time or run.created,
        "attempt": task.attempt if task else 0,
        "trigger": run.start.kind,
        "by": run.start.by,
    }


def _member(book: Book, plan: Plan, place: str) -> dict[str, Any]:
    """What it has of the members that it is in, of inner ones what they have in common with outer ones."""
    found: dict[str, Any] = {}
    parts = place.split(".")
    for depth, part in enumerate(parts, 1):
        inner = ".".join(parts[:depth])
        if not is_member(part) or (task := book.get(inner)) is None:
            continue
        fanout = book.get(fanout_of(inner))
        found |= {"index": task.index, "total": fanout.total if fanout else 0}
        if plan.node(inner).task.for_each is None:
            found["matrix"] = {**found.get("matrix", {}), **task.item}
        else:
            found["item"] = task.item
    return found
