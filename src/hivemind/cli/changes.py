"""Waiting for the hive to change, without asking again and again: the stream of events wakes us."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

from hivemind.client.client import Hivemind
from hivemind.errors import HivemindError

LOOK_AGAIN = 1.0
"""Seconds. What changes without an event, or before the stream was open, is seen this late."""
_SETTLE = 0.05
"""Seconds. Events come in bursts; one look serves a whole burst."""


class Changes:
    """Wakes whoever waits whenever something happens in a project.

    Made before the change that one waits for is asked for, so that the stream is open when it happens.
    """

    def __init__(self, hive: Hivemind, project: str, app: str = "") -> None:
        self._woken: queue.Queue[None] = queue.Queue()
        self._thread = threading.Thread(
            target=self._listen, args=(hive, project, app), name="events", daemon=True
        )
        self._thread.start()

    def _listen(self, hive: Hivemind, project: str, app: str) -> None:
        try:
            for _ in hive.events_follow(project=project, app=app):
                self._woken.put(None)
        except HivemindError:
            # The waiting side asks the daemon itself at every look and reports that it is gone.
            return

    def looks(self, deadline: float | None, tick: float = LOOK_AGAIN) -> Iterator[bool]:
        """Each item is a moment to look, the first at once; True when `tick` passed without any event.

        Ends at `deadline`, a time of `time.monotonic()`."""
        yield False
        while deadline is None or time.monotonic() < deadline:
            left = tick if deadline is None else max(min(tick, deadline - time.monotonic()), 0.0)
            idle = not self._wait(left)
            yield idle

    def _wait(self, seconds: float) -> bool:
        try:
            self._woken.get(timeout=seconds)
        except queue.Empty:
            return False
        until = time.monotonic() + _SETTLE
        while (left := until - time.monotonic()) > 0:
            try:
                self._woken.get(timeout=left)
            except queue.Empty:
                break
        return True
