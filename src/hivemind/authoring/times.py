"""Schedules for `@job(schedule=…)`, as the document has them."""

from __future__ import annotations

from typing import Any


def cron(fields: str, *, tz: str | None = None, **further: Any) -> dict[str, Any]:
    """`cron("0 2 * * *", tz="Europe/Paris", missed="last", overlap="forbid")`; further keys as of a schedule."""
    return {"cron": fields, **({"timezone": tz} if tz else {}), **further}


def every(interval: str | float, **further: Any) -> dict[str, Any]:
    """`every("15m", jitter="1m")`"""
    return {"every": interval, **further}
