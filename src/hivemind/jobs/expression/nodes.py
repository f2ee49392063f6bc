"""The tree of an expression: each kind of node knows its parts and computes its value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hivemind.errors import nearest
from hivemind.jobs.expression.budget import Budget, Refused
from hivemind.jobs.expression.functions import FUNCTIONS
from hivemind.jobs.expression.operators import OPERATORS, indexed, member, negative
from hivemind.jobs.expression.values import kind, truthy


class Work:
    """One evaluation: what can be read, what may still be spent, and where in the text it is."""

    __slots__ = ("at", "budget", "scope")

    def __init__(self, scope: Mapping[str, Any], budget: Budget) -> None:
        self.scope = scope
        self.budget = budget
        self.at = 0

    def reach(self, at: int) -> None:
        self.budget.spend()
        self.at = at


class Node(msgspec.Struct, frozen=True):
    at: int
    """Where in the text what it does is written."""

    def value(self, work: Work) -> Any:
        raise AssertionError(f"a {type(self).__name__} has no value of its own")

    def parts(self) -> tuple[Node, ...]:
        return ()


class Literal(Node, frozen=True):
    literal: bool | int | float | str | None

    def value(self, work: Work) -> Any:
        return self.literal


class Name(Node, frozen=True):
    name: str

    def value(self, work: Work) -> Any:
        work.reach(self.at)
        try:
            return work.scope[self.name]
        except KeyError:
            raise Refused(f"there is no {self.name!r} here", _there(self.name, work.scope)) from None


class Member(Node, frozen=True):
    name: str


class Path(Node, frozen=True):
    """`of.name[index]…`: one node however long, so that length is not depth."""

    of: Node
    steps: tuple[Node, ...]
    """A `Member`, or the node of an index."""

    def value(self, work: Work) -> Any:
        found = self.of.value(work)
        for step in self.steps:
            if isinstance(step, Member):
                work.reach(step.at)
                found = member(found, step.name)
            else:
                index = step.value(work)
                work.reach(step.at)
                found = indexed(found, index, work.budget)
        return found

    def parts(self) -> tuple[Node, ...]:
        return self.of, *self.steps

    def fixed(self) -> tuple[tuple[str, ...], tuple[Node, ...]]:
        """The path up to what only a run can tell; the indexes behind it."""
        if not isinstance(self.of, Name):
            return (), self.parts()
        path = [self.of.name]
        for number, step in enumerate(self.steps):
            if isinstance(step, Member):
                path.append(step.name)
            elif isinstance(step, Literal) and isinstance(step.literal, str):
                path.append(step.literal)
            else:
                return tuple(path), self.steps[number:]
        return tuple(path), ()


class Chain(Node, frozen=True):
    """`first + second - third`, or a comparison."""

    first: Node
    rest: tuple[tuple[int, str, Node], ...]
    """Place, operator, operand."""

    def value(self, work: Work) -> Any:
        result = self.first.value(work)
        for at, sign, operand in self.rest:
            other = operand.value(work)
            work.reach(at)
            result = OPERATORS[sign](result, other, work.budget)
        return result

    def parts(self) -> tuple[Node, ...]:
        return self.first, *(operand for _, _, operand in self.rest)


class Logic(Node, frozen=True):
    """`and`, `or`: the first operand that decides, as it is."""

    stop: bool
    """True: of `or`."""
    operands: tuple[Node, ...]

    def value(self, work: Work) -> Any:
        result: Any = None
        for operand in self.operands:
            result = operand.value(work)
            work.reach(self.at)
            if truthy(result) == self.stop:
                break
        return result

    def parts(self) -> tuple[Node, ...]:
        return self.operands


class Not(Node, frozen=True):
    of: Node

    def value(self, work: Work) -> Any:
        found = self.of.value(work)
        work.reach(self.at)
        return not truthy(found)

    def parts(self) -> tuple[Node, ...]:
        return (self.of,)


class Negative(Node, frozen=True):
    of: Node

    def value(self, work: Work) -> Any:
        found = self.of.value(work)
        work.reach(self.at)
        return negative(found)

    def parts(self) -> tuple[Node, ...]:
        return (self.of,)


class Choice(Node, frozen=True):
    """`then if condition else otherwise`."""

    then: Node
    condition: Node
    otherwise: Node

    def value(self, work: Work) -> Any:
        holds = self.condition.value(work)
        work.reach(self.at)
        return (self.then if truthy(holds) else self.otherwise).value(work)

    def parts(self) -> tuple[Node, ...]:
        return self.then, self.condition, self.otherwise


class Array(Node, frozen=True):
    items: tuple[Node, ...]

    def value(self, work: Work) -> Any:
        work.reach(self.at)
        return [_open(item.value(work)) for item in self.items]

    def parts(self) -> tuple[Node, ...]:
        return self.items


class Object(Node, frozen=True):
    members: tuple[tuple[str, Node], ...]

    def value(self, work: Work) -> Any:
        work.reach(self.at)
        return {name: _open(node.value(work)) for name, node in self.members}

    def parts(self) -> tuple[Node, ...]:
        return tuple(node for _, node in self.members)


class Call(Node, frozen=True):
    function: str
    arguments: tuple[Node, ...]

    def value(self, work: Work) -> Any:
        arguments = [argument.value(work) for argument in self.arguments]
        work.reach(self.at)
        for argument in arguments:
            _open(argument)
        return FUNCTIONS[self.function].call(work.budget, *arguments)

    def parts(self) -> tuple[Node, ...]:
        return self.arguments


def _open(value: Any) -> Any:
    """The same, if it is no secret."""
    kind(value)
    return value


def _there(name: str, scope: Mapping[str, Any]) -> str:
    known = sorted(scope)
    if close := nearest(name, known):
        return close
    quoted = f"; a text is written '{name}'"
    return (f"there are {', '.join(known)}" if known else "nothing can be read here") + quoted
