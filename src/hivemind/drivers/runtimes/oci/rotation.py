"""Log rotation: `log` becomes `log.1`, `log.1` becomes `log.2`, and the monitor goes on in a new `log`.

The kernel tells of the first write to a log; then its size is looked at, and it is listened to again after a
while: sooner the faster it fills, but not for each line. A log that nobody writes costs nothing.

Nothing is lost in between: the monitor writes to the renamed file until it has opened the new one. While no
daemon runs, or faster than it looks, the monitor itself starts its log over at the size of all files together.
"""

from __future__ import annotations

import asyncio
import logging
import os

from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.inotify import MODIFY, Inotify
from hivemind.drivers.runtimes.oci import monitor
from hivemind.drivers.runtimes.oci.record import Directory
from hivemind.errors import HivemindError, NotFound

_LONGEST, _SHORTEST = 1.0, 0.02
"""Seconds between two looks at a log that is being written."""
_ONCE = 0x80000000  # a watch that ends with its first event
_log = logging.getLogger(__name__)


class Rotation:
    """Rotates the logs it is told of until they are dropped, or it is closed. Made inside a running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inotify = Inotify()
        self._logs: dict[str, _Log] = {}
        self._watched: dict[int, _Log] = {}
        self._task = asyncio.ensure_future(self._listen())

    def add(self, directory: Directory, spec: ContainerSpec) -> None:
        log = self._logs[spec.id] = _Log(directory, spec)
        self._watch(log)

    def drop(self, id: str) -> None:
        log = self._logs.pop(id, None)
        if log is None:
            return
        if self._watched.pop(log.watch, None):
            self._inotify.remove(log.watch)
        if log.timer is not None:
            log.timer.cancel()

    def close(self) -> None:
        for id in list(self._logs):
            self.drop(id)
        self._inotify.close()  # its task ends by itself

    async def _listen(self) -> None:
        async for change in self._inotify:
            if change.wd >= 0:
                self._changed(change.wd)
            else:  # events were dropped: look at everything
                for watch in list(self._watched):
                    self._changed(watch)

    def _changed(self, watch: int) -> None:
        if log := self._watched.pop(watch, None):
            self._inotify.remove(watch)
            self._look(log)

    def _look(self, log: _Log) -> None:
        try:
            delay = log.look(self._loop.time())
        except OSError as error:
            _log.warning("the log of container %s could not be rotated: %s", log.spec.id, error)
            delay = _LONGEST
        log.timer = self._loop.call_later(delay, self._watch, log)

    def _watch(self, log: _Log) -> None:
        try:
            log.watch = self._inotify.add(log.directory.log, MODIFY | _ONCE)
        except NotFound:  # the monitor has not opened the new one yet
            self._look(log)
        except HivemindError as error:
            _log.warning("the log of container %s is not watched: %s", log.spec.id, error)
            self._look(log)
        else:
            self._watched[log.watch] = log
            if log.is_full():  # and perhaps nobody writes to it any more
                self._changed(log.watch)


class _Log:
    def __init__(self, directory: Directory, spec: ContainerSpec) -> None:
        self.directory = directory
        self.spec = spec
        self.watch = -1
        self.timer: asyncio.TimerHandle | None = None
        self._missing = 0.0
        self._seen = (0.0, 0)

    def is_full(self) -> bool:
        try:
            return self.directory.log.stat().st_size >= self.spec.log_max_size
        except FileNotFoundError:
            return False

    def look(self, now: float) -> float:
        """Rotates it when it is full; the seconds until the next look is due."""
        try:
            size = self.directory.log.stat().st_size
        except FileNotFoundError:
            return self._look_for_it(now)
        self._missing = 0.0
        if size >= self.spec.log_max_size:
            rotate(self.directory, self.spec)
            self._seen = (now, 0)
            return _SHORTEST
        before, was = self._seen
        self._seen = (now, size)
        if not before:
            return _SHORTEST
        if size <= was:
            return _LONGEST
        full = (self.spec.log_max_size - size) * (now - before) / (size - was)
        return min(_LONGEST, max(_SHORTEST, full))

    def _look_for_it(self, now: float) -> float:
        """The monitor opens the new file as soon as it can. Asked twice it would do so twice, and drop the first
        one with the lines in it; so only when nothing came for long was a rotation cut short by our own end."""
        self._missing = self._missing or now
        if now - self._missing >= 5 * _LONGEST:
            self._missing = now
            monitor.reopen_log(self.directory)
        return _SHORTEST if now - self._missing < _LONGEST else _LONGEST


def rotate(directory: Directory, spec: ContainerSpec) -> None:
    older = [directory.log.with_name(f"log.{number}") for number in range(1, max(2, spec.log_max_files))]
    for newer, older_one in zip(reversed(older[:-1]), reversed(older[1:]), strict=True):
        if newer.exists():
            os.replace(newer, older_one)
    os.replace(directory.log, older[0])
    monitor.reopen_log(directory)
    if spec.log_max_files < 2:
        older[0].unlink()
