"""`needs` in its short forms, and `depends` as workflow engines write it."""

from __future__ import annotations

import re
from typing import Any

from hivemind.jobs.definition.place import Place

_TERM = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)(?:\.([A-Za-z]+))?\Z")
_OUTCOMES = {
    "": "success",
    "success": "success",
    "succeeded": "success",
    "failure": "failure",
    "failed": "failure",
    "done": "done",
    "completed": "done",
    "always": "always",
    "skipped": "result == 'skipped'",
    "canceled": "result == 'canceled'",
}


def needs(raw: Any, place: Place) -> dict[str, Any]:
    """`a`, `[a, b]`, `[a, {b: failure}]`, `{a: failure}`: each task with what it shall have come to."""
    if raw is None:
        return {}
    if isinstance(raw, str):
        place.to(raw, of=())
        return {raw: "success"}
    if isinstance(raw, dict):
        return {key: "success" if value is None else _outcome(value) for key, value in raw.items()}
    if not isinstance(raw, list):
        place.refuse("'needs' names tasks", "write it like needs: [build] or needs: {build: failure}")
        return {}
    found: dict[str, Any] = {}
    for number, one in enumerate(raw):
        if isinstance(one, dict):
            for key, value in one.items():
                place.to(key, of=(number, key))
                found[key] = _outcome(value)
        elif isinstance(one, str):
            place.to(one, of=(number,))
            found[one] = "success"
        else:
            place.at(number).refuse("'needs' names tasks", "write it like needs: [build]")
    return found


def _outcome(raw: Any) -> Any:
    return _OUTCOMES.get(raw, raw) if isinstance(raw, str) else raw


def depends(raw: Any, place: Place) -> dict[str, Any]:
    """`a.succeeded && b.failed`. What else can be said in one expression is said by `needs` and `if`."""
    if not isinstance(raw, str):
        place.refuse("'depends' is text", "write it like a.succeeded && b.failed, or use needs")
        return {}
    found = {}
    for term in raw.split("&&"):
        match = _TERM.match(term.strip())
        outcome = _OUTCOMES.get((match[2] or "").lower()) if match else None
        if not match or outcome is None:
            place.refuse(
                f"{term.strip()!r} in 'depends' is not understood",
                "tasks joined by &&, each like a, a.succeeded, a.failed, a.done or a.skipped; "
                "for more write needs: {a: done} with an if",
            )
            return {}
        place.to(match[1], of=())
        found[match[1]] = outcome
    return found
