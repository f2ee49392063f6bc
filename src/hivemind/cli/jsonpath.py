"""The part of kubectl's JSONPath that names one value: `{.status.phase}`, `.items[0].name`, `{.labels['a.b']}`."""

from __future__ import annotations

import re
from typing import Any

from hivemind.errors import Invalid

_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]|\[['\"]([^'\"]*)['\"]\]")
Step = str | int


def parse(text: str) -> tuple[Step, ...]:
    """Raises `Invalid`."""
    path = text.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if path and path[0] not in ".[":
        path = f".{path}"
    steps: list[Step] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if not match:
            raise Invalid(f"{text!r} is not a path to a value", hint="write it like {.status.phase}")
        steps.append(int(match[2]) if match[2] else match[1] or match[3])
        at = match.end()
    if not steps:
        raise Invalid(f"{text!r} names no value", hint="write it like {.status.phase}")
    return tuple(steps)


def value_at(steps: tuple[Step, ...], data: Any) -> Any:
    """None when there is nothing."""
    for step in steps:
        if isinstance(data, dict) and isinstance(step, str):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int):
            data = data[step] if step < len(data) else None
        else:
            return None
    return data


def shown(value: Any) -> str:
    """As one compares it: `true`, `3`, text without quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
