"""A paused queue: nothing of that concurrency key starts, though it may be submitted."""

from __future__ import annotations

from hivemind.model.base import Record


class PausedQueue(Record, frozen=True, kw_only=True):
    """Kept by `<project>/<key>` while it is paused; the empty key is all of the project."""

    project: str
    key: str
    by: str = ""
    since: int = 0
