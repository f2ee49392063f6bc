"""What operators do with values. None of them converts anything: `1 == '1'` is false, `1 + '1'` is refused."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from hivemind.jobs.expression.budget import Budget, Refused
from hivemind.jobs.expression.values import is_number, kind, number, same

Operator = Callable[[Any, Any, Budget], Any]


def _add(one: Any, other: Any, budget: Budget) -> Any:
    kinds = kind(one), kind(other)
    if kinds == ("number", "number"):
        return number(one + other)
    if kinds == ("text", "text"):
        budget.text(len(one) + len(other))
        return one + other
    if kinds == ("list", "list"):
        budget.members(len(one) + len(other))
        return [*one, *other]
    if "text" in kinds:
        raise Refused(f"{kinds[0]} + {kinds[1]} cannot be added", "string(x) makes a text of any value")
    raise Refused(f"{kinds[0]} + {kinds[1]} cannot be added")


def _arithmetic(sign: str, compute: Callable[[Any, Any], Any]) -> Operator:
    def apply(one: Any, other: Any, budget: Budget) -> Any:
        kinds = kind(one), kind(other)
        if kinds != ("number", "number"):
            hint = "int(x) or float(x) reads a number from a text" if "text" in kinds else ""
            raise Refused(f"{kinds[0]} {sign} {kinds[1]} cannot be computed", hint)
        try:
            return number(compute(one, other))
        except ZeroDivisionError:
            raise Refused("division by zero") from None
        except OverflowError:
            raise Refused("a number becomes too large") from None

    return apply


def _divided(one: Any, other: Any) -> Any:
    """An integer where that is exact."""
    if isinstance(one, int) and isinstance(other, int) and one % other == 0:
        return one // other
    return one / other


def _ordered(sign: str, compare: Callable[[Any, Any], bool]) -> Operator:
    def apply(one: Any, other: Any, budget: Budget) -> bool:
        kinds = kind(one), kind(other)
        if kinds not in (("number", "number"), ("text", "text")):
            hint = "int(x) or float(x) reads a number from a text" if set(kinds) == {"text", "number"} else ""
            raise Refused(f"{kinds[0]} {sign} {kinds[1]} cannot be compared", hint)
        return compare(one, other)

    return apply


def contains(whole: Any, part: Any, budget: Budget) -> bool:
    """A text holds a text, a list a member, an object a name."""
    kinds = kind(whole), kind(part)
    if kinds == ("text", "text"):
        budget.spend(1 + len(whole) // 50)
        return part in whole
    if kinds[0] == "list":
        budget.spend(len(whole))
        return any(same(one, part, budget) for one in whole)
    if kinds == ("object", "text"):
        return part in whole
    raise Refused(f"{kinds[0]} cannot hold {kinds[1]}", "a text holds texts, a list members, an object names")


OPERATORS: Mapping[str, Operator] = {
    "+": _add,
    "-": _arithmetic("-", operator.sub),
    "*": _arithmetic("*", operator.mul),
    "/": _arithmetic("/", _divided),
    "%": _arithmetic("%", operator.mod),
    "==": same,
    "!=": lambda one, other, budget: not same(one, other, budget),
    "<": _ordered("<", operator.lt),
    "<=": _ordered("<=", operator.le),
    ">": _ordered(">", operator.gt),
    ">=": _ordered(">=", operator.ge),
    "in": lambda one, other, budget: contains(other, one, budget),
    "not in": lambda one, other, budget: not contains(other, one, budget),
}


def member(of: Any, name: str) -> Any:
    """`of.name`; null where it is missing, and of null."""
    what = kind(of)
    if what == "null":
        return None
    if what != "object":
        raise Refused(f"{what} has no member {name!r}", "lists are read by [0], their length by length(x)")
    try:
        return of[name]
    except KeyError:
        pass
    if "-" in name and any(name[:at] in of for at, sign in enumerate(name) if sign == "-"):
        raise Refused(f"there is no member {name!r}", "to subtract, put spaces around the minus")
    return None


def indexed(of: Any, index: Any, budget: Budget) -> Any:
    """`of[index]`; null where it is missing, and of null."""
    kinds = kind(of), kind(index)
    if kinds[0] == "null":
        return None
    if kinds == ("object", "text"):
        try:
            return of[index]
        except KeyError:
            return None
    if kinds[0] in ("list", "text") and is_number(index) and isinstance(index, int):
        return of[index] if -len(of) <= index < len(of) else None
    raise Refused(f"{kinds[0]} cannot be indexed by {kinds[1]}", "lists by integers, objects by texts")


def negative(of: Any) -> Any:
    if kind(of) != "number":
        raise Refused(f"-{kind(of)} cannot be computed")
    return number(-of)
