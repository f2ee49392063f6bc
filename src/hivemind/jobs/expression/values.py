"""Values: null, booleans, numbers, texts, lists, objects, and secrets that can only be passed on.

Whatever walks through a value pays for it, and refuses secrets and everything that is no such value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hivemind.jobs.expression.budget import DEPTH, LARGEST, Budget, Refused
from hivemind.jobs.expression.sealed import Sealed

_SEALED_HINT = (
    "it may only be the whole value of a variable or parameter, as in env: {PASSWORD: ${{ inputs.password }}}"
)


_KINDS: Mapping[type, str] = {
    type(None): "null", bool: "boolean", int: "number", float: "number", str: "text", list: "list", tuple: "list",
    dict: "object",
}  # fmt: skip


def kind(value: Any) -> str:
    """What messages call it. Refuses a secret: there is nothing that can be said about it."""
    return _KINDS.get(type(value)) or _kind(value)


def _kind(value: Any) -> str:
    """Of what only is like one of them: words of an enumeration, objects that are computed when they are read."""
    match value:
        case int() | float():
            return "number"
        case str():
            return "text"
        case list() | tuple():
            return "list"
        case Mapping():
            return "object"
        case Sealed():
            raise Refused("a secret cannot be computed with", _SEALED_HINT)
    raise Refused("a value here is of a kind that expressions do not have")


def truthy(value: Any) -> bool:
    return bool(value) if kind(value) != "object" else len(value) > 0


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: int | float) -> int | float:
    """The result of a calculation, if it is still an ordinary number."""
    if isinstance(value, int):
        if not -LARGEST - 1 <= value <= LARGEST:
            raise Refused("a number becomes too large", "integers have 64 bits")
    elif value != value or value in (float("inf"), float("-inf")):
        raise Refused("the result is not a finite number")
    return value


def plain(value: Any, budget: Budget, depth: int = 0) -> Any:
    """A copy in dictionaries and lists, as JSON has them, the members of objects in the order of their names."""
    if depth > DEPTH:
        raise Refused(f"a value is nested more than {DEPTH} deep")
    match kind(value):
        case "text":
            budget.text(len(value))
            return str.__str__(value)
        case "number":
            budget.spend()
            return number(value)
        case "list":
            budget.members(len(value))
            return [plain(one, budget, depth + 1) for one in value]
        case "object":
            budget.members(len(value))
            return {name: plain(value[name], budget, depth + 1) for name in names(value)}
    budget.spend()
    return value


def names(value: Mapping[str, Any]) -> list[str]:
    """Those of an object's members, sorted: where values came from must not show in their order."""
    found = list(value)
    if not all(isinstance(name, str) for name in found):
        raise Refused("names of members must be texts")
    return sorted(found)


def same(one: Any, other: Any, budget: Budget) -> bool:
    """Equal in kind and value; 1 and 1.0 are."""
    if type(one) is str and type(other) is str:
        budget.spend(1 + min(len(one), len(other)) // 50)
        return one == other
    return bool(shape(one, budget) == shape(other, budget))


def shape(value: Any, budget: Budget, depth: int = 0) -> Any:
    """Something hashable that is equal for equal values."""
    if depth > DEPTH:
        raise Refused(f"a value is nested more than {DEPTH} deep")
    what = kind(value)
    if what == "list":
        budget.members(len(value))
        return what, tuple(shape(one, budget, depth + 1) for one in value)
    if what == "object":
        budget.members(len(value))
        return what, tuple((name, shape(value[name], budget, depth + 1)) for name in names(value))
    budget.spend(1 + (len(value) // 50 if what == "text" else 0))
    return what, number(value) if what == "number" else value


def as_json(value: Any, budget: Budget) -> str:
    try:
        text = msgspec.json.encode(plain(value, budget), order="sorted").decode()
    except UnicodeEncodeError:
        raise Refused("a text holds half of a surrogate pair") from None
    budget.text(len(text))
    return text


def as_text(value: Any, budget: Budget) -> str:
    """As it stands within text: texts as they are, all else as JSON."""
    if kind(value) == "text":
        budget.text(len(value))
        return str.__str__(value)
    return as_json(value, budget)
