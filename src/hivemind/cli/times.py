"""Times as people give them: `10m` ago, or a date."""

from __future__ import annotations

import datetime
import time

from hivemind.errors import Invalid
from hivemind.model.quantity import parse_seconds


def moment(text: str, option: str, now: float | None = None) -> float:
    """Seconds since 1970 of `10m` (ago), `2026-01-31T12:00:00Z`, `2026-01-31 12:00` (local) or `1790000000`."""
    clean = text.strip()
    if clean.replace(".", "", 1).isdigit() and len(clean.split(".")[0]) >= 9:
        return float(clean)
    try:
        return (time.time() if now is None else now) - parse_seconds(clean)
    except Invalid:
        pass
    try:
        when = datetime.datetime.fromisoformat(clean)
    except ValueError:
        raise Invalid(
            f"{option} {text!r} is not a time", hint="write how long ago, like 10m, or 2026-01-31T12:00:00Z"
        ) from None
    return when.timestamp()
