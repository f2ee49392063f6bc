"""Reading what options hold: words, pairs, settings that change a few fields of a struct."""

from __future__ import annotations

import shlex
from typing import Any, TypeVar

import msgspec

from hivemind.errors import Invalid

S = TypeVar("S", bound=msgspec.Struct)


def words(text: str, option: str) -> tuple[str, ...]:
    """As a shell would split it. No shell runs it: no variables, no pipes."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise Invalid(
            f"{option} {text!r} cannot be split into words: {error}", hint="check its quotes"
        ) from None


def pairs(texts: list[str], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Invalid(f"{option} {text!r} has no value", hint=f"write it like {option} key=value")
        found[name] = value
    return found


def changed(base: S, **given: Any) -> S | None:
    """`base` with the fields that were given (not None); None when none was."""
    named = {k: v for k, v in given.items() if v is not None}
    return msgspec.structs.replace(base, **named) if named else None
