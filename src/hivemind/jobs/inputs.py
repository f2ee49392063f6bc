"""Inputs, of jobs and of routines: what was given, made complete and checked against what is declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hivemind.errors import Invalid, nearest
from hivemind.jobs.expression import Sealed
from hivemind.model.base import encode
from hivemind.model.job import Input

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "list": (list, tuple),
    "object": (dict,),
}


def bind(declared: Mapping[str, Input], given: Mapping[str, Any], what: str = "the job") -> dict[str, Any]:
    """All inputs with their values: those given, and the defaults of the others.

    Raises `Invalid` for an unknown one, a missing one, and one of another type or choice."""
    for name in given:
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            hint = nearest(name, declared) or f"its inputs: {known}"
            raise Invalid(f"{what} has no input {name!r}", hint=hint)
    if missing := [name for name, one in declared.items() if one.required and name not in given]:
        noun = "input" if len(missing) == 1 else "inputs"
        told = ", ".join(f"{name}: {declared[name].description or declared[name].type}" for name in missing)
        raise Invalid(f"{what} needs the {noun} {', '.join(missing)}", hint=told)
    for name, value in given.items():
        check_value(name, value, declared[name])
    return {name: given.get(name, one.default) for name, one in declared.items()}


def check_value(name: str, value: Any, declared: Input) -> None:
    """Raises `Invalid` when that input cannot have that value. A sealed one is not looked into."""
    if isinstance(value, Sealed):
        return
    if value is None and not declared.required and declared.default is None:
        return
    if not fits(value, declared.type):
        raise Invalid(f"the input {name} is {_brief(value)}, and its type is {declared.type}")
    if declared.choices and value not in declared.choices:
        shown = ", ".join(encode(choice).decode() for choice in declared.choices)
        raise Invalid(f"the input {name} is {_brief(value)}", hint=f"it is one of {shown}")


def fits(value: Any, type: str) -> bool:
    if isinstance(value, bool):
        return type == "boolean"
    return isinstance(value, _TYPES[type])


def _brief(value: Any) -> str:
    text = encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}…"
