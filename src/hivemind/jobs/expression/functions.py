"""The functions of expressions. None of them knows a clock, and none gives more than its budget allows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from hivemind.errors import Invalid
from hivemind.jobs.expression.budget import Budget, Refused
from hivemind.jobs.expression.operators import OPERATORS, contains
from hivemind.jobs.expression.times import date, timestamp
from hivemind.jobs.expression.values import as_json, as_text, is_number, kind, names, number, shape, truthy
from hivemind.model.json_text import decode_value
from hivemind.model.pattern import LONGEST_TEXT, Pattern

_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,19}\s*\Z", re.ASCII)
_FLOAT = re.compile(r"\s*[+-]?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?\s*\Z", re.ASCII)
_PLACE = re.compile(r"\{\{|\}\}|\{([0-9]{1,3})\}|[{}]")


class Function(NamedTuple):
    call: Callable[..., Any]
    """Takes the budget, then the arguments."""
    usage: str
    least: int
    most: int

    @property
    def takes(self) -> str:
        if self.most == _ANY_NUMBER:
            return f"{self.least} arguments or more"
        count = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
        return f"{count} argument{'s' if count != '1' else ''}"


_ANY_NUMBER = 1000


def _want(value: Any, wanted: str) -> Any:
    if kind(value) != wanted:
        raise Refused(f"{wanted} is needed, not {kind(value)}")
    return value


def _integer(value: Any) -> int:
    if not is_number(value) or not isinstance(value, int):
        raise Refused(f"an integer is needed, not {kind(value)}")
    return value


# texts


def _starts_with(budget: Budget, text: Any, prefix: Any) -> bool:
    return bool(_want(text, "text").startswith(_want(prefix, "text")))


def _ends_with(budget: Budget, text: Any, suffix: Any) -> bool:
    return bool(_want(text, "text").endswith(_want(suffix, "text")))


def _matches(budget: Budget, text: Any, pattern: Any) -> bool:
    if len(_want(text, "text")) > LONGEST_TEXT:
        raise Refused(f"a text of {len(text):,} characters is too long", f"patterns look at {LONGEST_TEXT:,}")
    budget.spend(1 + len(text) // 10)
    try:
        return Pattern(_want(pattern, "text"), budget.spend).found_in(text)
    except Invalid as error:
        raise Refused(error.message, error.hint) from None


def _cased(change: Callable[[str], str]) -> Callable[..., str]:
    def call(budget: Budget, text: Any) -> str:
        budget.text(3 * len(_want(text, "text")))  # one character may become three
        return change(text)

    return call


def _trim(budget: Budget, text: Any) -> str:
    budget.text(len(_want(text, "text")))
    return str(text).strip()


def _replace(budget: Budget, text: Any, old: Any, new: Any) -> str:
    if not _want(old, "text"):
        raise Refused("there is nothing to be replaced: the second argument is empty")
    budget.spend(1 + len(_want(text, "text")) // 50)
    count = text.count(old)
    budget.text(len(text) + count * (len(_want(new, "text")) - len(old)))
    return str(text).replace(old, new)


def _split(budget: Budget, text: Any, separator: Any = None) -> list[str]:
    """Without a separator at any white space."""
    budget.text(len(_want(text, "text")))
    if separator == "":
        raise Refused("the separator is empty")
    count = len(text) // 2 if separator is None else text.count(_want(separator, "text"))
    budget.members(count + 1)
    return list(text.split(separator))


def _join(budget: Budget, members: Any, separator: Any = ",") -> str:
    budget.spend(len(_want(members, "list")))
    _want(separator, "text")
    texts = [as_text(one, budget) for one in members]
    budget.text(sum(map(len, texts)) + len(separator) * len(texts))
    return str(separator).join(texts)


def _format(budget: Budget, template: Any, *arguments: Any) -> str:
    """{0} is the first argument; {{ and }} are braces."""
    budget.text(len(_want(template, "text")))
    texts = [as_text(one, budget) for one in arguments]
    parts, at = [], 0
    for place in _PLACE.finditer(template):
        parts.append(template[at : place.start()])
        at = place.end()
        if place[1] is None and len(place[0]) != 2:
            raise Refused(
                f"{place[0]} alone is not understood in a format", "places are {0}, {1}; a brace is {{ or }}"
            )
        if place[1] is not None and int(place[1]) >= len(texts):
            raise Refused(f"there is no argument for {place[0]}", f"there are {len(texts)}, from {{0}} on")
        parts.append(place[0][0] if place[1] is None else texts[int(place[1])])
        budget.text(len(parts[-1]))
    parts.append(template[at:])
    budget.text(sum(map(len, parts)))
    return "".join(parts)


# lists and objects


def _length(budget: Budget, value: Any) -> int:
    if kind(value) not in ("text", "list", "object"):
        raise Refused(f"{kind(value)} has no length")
    return len(value)


def _range(budget: Budget, *bounds: Any) -> list[int]:
    """`range(end)`, `range(begin, end)`, `range(begin, end, step)`; without the end."""
    begin, end, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    if _integer(step) == 0:
        raise Refused("the step of a range cannot be 0")
    numbers = range(_integer(begin), _integer(end), step)
    try:
        budget.members(len(numbers))
    except OverflowError:
        raise Refused("the range is too long") from None
    return list(numbers)


def _keys(budget: Budget, value: Any) -> list[str]:
    budget.members(len(_want(value, "object")))
    return names(value)


def _values(budget: Budget, value: Any) -> list[Any]:
    """In the order of their names."""
    budget.members(len(_want(value, "object")))
    return [value[name] for name in names(value)]


def _first(budget: Budget, members: Any) -> Any:
    """Null of an empty list."""
    return _want(members, "list")[0] if _length(budget, members) else None


def _last(budget: Budget, members: Any) -> Any:
    return _want(members, "list")[-1] if _length(budget, members) else None


def _sort(budget: Budget, members: Any) -> list[Any]:
    budget.members(len(_want(members, "list")) * 4)  # for the comparisons
    kinds = {kind(one) for one in members}
    if len(kinds) > 1 or not kinds <= {"number", "text"}:
        raise Refused("only lists of numbers, or of texts, can be sorted")
    return sorted(members)


def _unique(budget: Budget, members: Any) -> list[Any]:
    """The first of equal ones."""
    budget.members(len(_want(members, "list")))
    found: dict[Any, Any] = {}
    for one in members:
        found.setdefault(shape(one, budget), one)
    return list(found.values())


def _flatten(budget: Budget, members: Any) -> list[Any]:
    """Of a list of lists one list."""
    budget.members(sum(len(_want(one, "list")) for one in _want(members, "list")))
    return [inner for one in members for inner in one]


def _pluck(budget: Budget, members: Any, name: Any) -> list[Any]:
    """That member of each object."""
    budget.members(len(_want(members, "list")))
    _want(name, "text")
    return [_want(one, "object").get(name) for one in members]


def _any(budget: Budget, members: Any) -> bool:
    budget.spend(len(_want(members, "list")))
    return any(truthy(one) for one in members)


def _all(budget: Budget, members: Any) -> bool:
    budget.spend(len(_want(members, "list")))
    return all(truthy(one) for one in members)


# numbers


def _extreme(sign: str) -> Callable[..., Any]:
    def call(budget: Budget, *values: Any) -> Any:
        """Of the arguments, or of one list; null of an empty one."""
        members = _want(values[0], "list") if len(values) == 1 else values
        budget.spend(len(members))
        best = members[0] if members else None
        for one in members[1:]:
            if OPERATORS[sign](one, best, budget):
                best = one
        if kind(best) not in ("number", "text", "null"):
            raise Refused(f"{kind(best)} cannot be compared")
        return best

    return call


def _sum(budget: Budget, members: Any) -> int | float:
    budget.spend(len(_want(members, "list")))
    total: int | float = 0
    for one in members:  # not Python's sum(): how that rounds depends on its version
        total = number(total + _want(one, "number"))
    return total


def _abs(budget: Budget, value: Any) -> int | float:
    return number(abs(_want(value, "number")))


def _round(budget: Budget, value: Any, digits: Any = 0) -> int | float:
    """Half to even; an integer when no digits are asked for."""
    if not 0 <= _integer(digits) <= 15:
        raise Refused("from 0 to 15 digits can be kept")
    return number(round(_want(value, "number"), digits) if digits else round(_want(value, "number")))


# from one kind to another


def _int(budget: Budget, value: Any) -> int:
    """Of a number without its fraction, of a text of digits, of a boolean 0 or 1."""
    what = kind(value)
    if what == "text" and _INTEGER.match(value):
        return int(number(int(value)))
    if what in ("number", "boolean"):
        return int(number(int(number(value))))
    raise Refused(f"no integer can be read from {_shown(value)}")


def _float(budget: Budget, value: Any) -> float:
    what = kind(value)
    if what == "text" and _FLOAT.match(value):
        return float(number(float(value)))
    if what == "number":
        return float(number(float(value)))
    raise Refused(f"no number can be read from {_shown(value)}")


def _shown(value: Any) -> str:
    return repr(value[:40]) if kind(value) == "text" else kind(value)


def _string(budget: Budget, value: Any) -> str:
    return as_text(value, budget)


def _to_json(budget: Budget, value: Any) -> str:
    return as_json(value, budget)


def _from_json(budget: Budget, text: Any) -> Any:
    budget.spend(1 + len(_want(text, "text")))  # at most one member a character
    try:
        found = decode_value(text)
    except msgspec.DecodeError as error:
        raise Refused(f"the text is not JSON: {str(error)[:100]}") from None
    shape(found, budget)  # neither too deep nor with too large numbers
    return found


def _default(budget: Budget, *values: Any) -> Any:
    """The first that is not null."""
    return next((one for one in values if one is not None), None)


FUNCTIONS: Mapping[str, Function] = {
    "contains": Function(
        lambda budget, whole, part: contains(whole, part, budget), "contains(whole, part)", 2, 2
    ),
    "starts_with": Function(_starts_with, "starts_with(text, prefix)", 2, 2),
    "ends_with": Function(_ends_with, "ends_with(text, suffix)", 2, 2),
    "matches": Function(_matches, "matches(text, 'pattern')", 2, 2),
    "lower": Function(_cased(str.lower), "lower(text)", 1, 1),
    "upper": Function(_cased(str.upper), "upper(text)", 1, 1),
    "trim": Function(_trim, "trim(text)", 1, 1),
    "replace": Function(_replace, "replace(text, old, new)", 3, 3),
    "split": Function(_split, "split(text, separator)", 1, 2),
    "join": Function(_join, "join(list, separator)", 1, 2),
    "format": Function(_format, "format('{0} of {1}', a, b)", 1, _ANY_NUMBER),
    "length": Function(_length, "length(value)", 1, 1),
    "range": Function(_range, "range(begin, end, step)", 1, 3),
    "keys": Function(_keys, "keys(object)", 1, 1),
    "values": Function(_values, "values(object)", 1, 1),
    "first": Function(_first, "first(list)", 1, 1),
    "last": Function(_last, "last(list)", 1, 1),
    "sort": Function(_sort, "sort(list)", 1, 1),
    "unique": Function(_unique, "unique(list)", 1, 1),
    "flatten": Function(_flatten, "flatten(list)", 1, 1),
    "pluck": Function(_pluck, "pluck(list, 'name')", 2, 2),
    "any": Function(_any, "any(list)", 1, 1),
    "all": Function(_all, "all(list)", 1, 1),
    "min": Function(_extreme("<"), "min(a, b) or min(list)", 1, _ANY_NUMBER),
    "max": Function(_extreme(">"), "max(a, b) or max(list)", 1, _ANY_NUMBER),
    "sum": Function(_sum, "sum(list)", 1, 1),
    "abs": Function(_abs, "abs(number)", 1, 1),
    "round": Function(_round, "round(number, digits)", 1, 2),
    "int": Function(_int, "int(value)", 1, 1),
    "float": Function(_float, "float(value)", 1, 1),
    "string": Function(_string, "string(value)", 1, 1),
    "to_json": Function(_to_json, "to_json(value)", 1, 1),
    "from_json": Function(_from_json, "from_json(text)", 1, 1),
    "default": Function(_default, "default(value, otherwise)", 2, _ANY_NUMBER),
    "coalesce": Function(_default, "coalesce(value, otherwise)", 2, _ANY_NUMBER),
    "date": Function(date, "date(time, zone, '%Y-%m-%d')", 1, 3),
    "timestamp": Function(timestamp, "timestamp('2026-12-24T18:00', zone)", 1, 2),
}
