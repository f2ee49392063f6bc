"""Values as variables of a process: text, exactly as it is, or a secret that only the node opens."""

from __future__ import annotations

from typing import Any

from hivemind.errors import Invalid
from hivemind.jobs.expression import Sealed
from hivemind.model.base import encode

LONGEST = 128 * 1024 - 1
"""Bytes of `NAME=value`: the kernel's MAX_ARG_STRLEN with its NUL."""


def text_of(value: Any) -> str:
    """Text as it is, nothing for null, all else as JSON: `true`, `3`, `["a","b"]`."""
    if isinstance(value, str):
        return value
    return "" if value is None else encode(value).decode()


class Variables:
    """What a process will find in its environment. A later value of a name replaces the earlier one."""

    def __init__(self) -> None:
        self.plain: dict[str, str] = {}
        self.sealed: dict[str, Sealed] = {}

    def put(self, name: str, value: Any, what: str = "") -> None:
        """Raises `Invalid` for what no variable can hold; it is called `what` there."""
        what = what or name
        self.plain.pop(name, None)
        self.sealed.pop(name, None)
        if isinstance(value, Sealed):
            self.sealed[name] = value
            return
        text = text_of(value)
        if "\0" in text:
            raise Invalid(f"the value of {what} holds a NUL byte", hint="pass it as a file")
        size = len(name.encode()) + 1 + len(text.encode("utf-8", "surrogatepass"))
        if size > LONGEST:
            raise Invalid(
                f"the value of {what} has {size:,} bytes, and the kernel takes {LONGEST:,} in one variable",
                hint="pass it as a file, or its place",
            )
        self.plain[name] = text
