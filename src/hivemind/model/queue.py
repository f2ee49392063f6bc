"""A paused queue: nothing of that concurrency key starts, though it may be submitted."""

from __future__ import annotations

from hivemind.model.base import Record


class PausedQueue(Record, frozen=True, kw_only=True):
    """Kept by `<project>/<key>` while it is paused; the empty key is all of the project."""

    project: str
    key: str
    by: str = ""
    since: int = 0


class RecentStart(Record, frozen=True, kw_only=True):
    """A task with a limited rate was given a place. Kept by `<project>/<key>/<time>/<task run>` while it counts."""

    project: str
    key: str
    """Of the rate."""
    time: int
    """Milliseconds."""
    until: int
    """From then on it does not count any more."""
