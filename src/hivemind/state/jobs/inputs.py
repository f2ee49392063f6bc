"""The inputs of a run: what was given, brought to the types that its job declares, and made complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hivemind.errors import Invalid
from hivemind.jobs.expression import Sealed
from hivemind.jobs.inputs import bind
from hivemind.model.base import UNREADABLE
from hivemind.model.job import Input, JobSpec
from hivemind.model.json_text import decode_value

_READ_AS_JSON = ("integer", "number", "boolean", "list", "object")


def bound(spec: JobSpec, given: Mapping[str, Any], sealed: Mapping[str, bytes]) -> dict[str, Any]:
    """All that are not secret, with their values. Raises `Invalid` for what is unknown, missing, of another type or
    choice, and for a secret that did not come sealed."""
    for name, value in given.items():
        declared = spec.inputs.get(name)
        if declared and declared.secret and value is not None:
            raise Invalid(
                f"the input {name} is secret, and came as it is",
                hint="start the job through the API, which seals it",
            )
    for name in sealed:
        if name in spec.inputs and not spec.inputs[name].secret:
            raise Invalid(f"the input {name} is not secret, and came sealed", hint="give it as it is")
    values = {name: _coerced(spec.inputs.get(name), value) for name, value in given.items()}
    values |= {name: Sealed(box, "") for name, box in sealed.items()}
    found = bind(spec.inputs, values)
    return {name: value for name, value in found.items() if not isinstance(value, Sealed)}


def _coerced(declared: Input | None, value: Any) -> Any:
    """Text that stands for a value of another type is that value: command lines know nothing but text."""
    if declared is None or not isinstance(value, str) or declared.type not in _READ_AS_JSON:
        return value
    try:
        return decode_value(value)
    except UNREADABLE:
        return value
