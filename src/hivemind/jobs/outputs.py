"""What a task wrote to `$HIVEMIND_OUTPUT`: `name=value` lines, and for values of several lines

name<<END
first
second
END
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from hivemind.errors import Invalid
from hivemind.jobs.inputs import fits
from hivemind.model.job import OutputSpec
from hivemind.model.json_text import decode_value

MOST_A_VALUE = 64 * 1024
MOST_IN_ALL = 256 * 1024
"""Bytes. Outputs are agreed on and kept by every node; what is larger is an artifact."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")


def parse_outputs(text: str, specs: Mapping[str, OutputSpec] = {}) -> dict[str, Any]:
    """Everything that was written, by name; the last value of a name counts. Values are text, but of those that
    `specs` gives another type.

    Raises `Invalid` that names the line at fault."""
    if len(text.encode("utf-8", "surrogatepass")) > MOST_IN_ALL:
        raise Invalid(
            f"the outputs are larger than {MOST_IN_ALL // 1024} KiB", hint="keep large results as an artifact"
        )
    found = _read(text.split("\n"))
    return {
        name: typed(name, value, specs[name]) if name in specs else value for name, value in found.items()
    }


def typed(name: str, text: str, spec: OutputSpec) -> Any:
    """The value that `text` stands for. Raises `Invalid` for one of another type, and for one too large."""
    _check_size(name, text)
    if spec.type == "string":
        return text
    try:
        value = decode_value(text.strip())
    except msgspec.DecodeError as error:
        raise Invalid(
            f"the output {name} is {_brief(text)}, which is not JSON: {error}",
            hint=f"its type is {spec.type}: write it as JSON, or leave out the type",
        ) from None
    if not fits(value, spec.type):
        raise Invalid(f"the output {name} is {_brief(text)}, and its type is {spec.type}")
    return value


def _check_size(name: str, text: str) -> None:
    if len(text.encode("utf-8", "surrogatepass")) > MOST_A_VALUE:
        raise Invalid(
            f"the output {name} is larger than {MOST_A_VALUE // 1024} KiB",
            hint="keep large results as an artifact",
        )


def _read(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if not line.strip():
            continue
        name, mark, rest = line.partition("=")
        if "<<" in name or not mark:
            name, mark, rest = line.partition("<<")
            if mark:
                begun = number
                rest, number = _block(lines, number, rest, name, begun)
        if not mark:
            raise Invalid(
                f"line {number} of the outputs is {_brief(line)}",
                hint='write outputs as name=value: echo "url=$url" >> "$HIVEMIND_OUTPUT"',
            )
        if not _NAME.match(name):
            raise Invalid(
                f"an output cannot be called {_brief(name)}", hint="letters, digits and _; at most 63"
            )
        _check_size(name, rest)
        found[name] = rest
    return found


def _block(lines: list[str], number: int, end: str, name: str, begun: int) -> tuple[str, int]:
    """The text up to the line `end`, and the number of the line after it."""
    for last in range(number, len(lines)):
        if lines[last] == end:
            return "\n".join(lines[number:last]), last + 1
    raise Invalid(
        f"the output {name}, begun in line {begun}, is not ended by a line {_brief(end)}",
        hint="write the word behind << alone on the line after its text",
    )


def _brief(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
