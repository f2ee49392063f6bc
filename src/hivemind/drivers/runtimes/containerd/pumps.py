"""Moves output into logs as it comes: the kernel tells of the first write, then a stream is looked at again after a
pause, not for each line. A container that says nothing costs nothing."""

from __future__ import annotations

import asyncio
import logging

from hivemind.drivers.runtimes.containerd.spool import STREAMS, Spool, Stream
from hivemind.drivers.runtimes.inotify import MODIFY, Inotify
from hivemind.errors import HivemindError

_PAUSE = 0.02
"""Seconds between two looks at a stream that is being written."""
_AGAIN = 1.0
"""Seconds until what failed is tried again."""
_ONCE = 0x80000000  # a watch that ends with its first event
_log = logging.getLogger(__name__)


class Pumps:
    """Serves the spools it is told of until they are dropped, or it is closed. Made inside a running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inotify = Inotify()
        self._all: dict[str, _Pump] = {}
        self._watched: dict[int, _Pump] = {}
        self._task = asyncio.ensure_future(self._listen())

    def add(self, id: str, spool: Spool) -> None:
        pump = self._all[id] = _Pump(spool)
        pump.seen = dict.fromkeys(STREAMS, 0)  # a new container has said nothing yet
        self._watch(pump)

    def drop(self, id: str) -> None:
        pump = self._all.pop(id, None)
        if pump is None:
            return
        self._unwatch(pump)
        if pump.timer is not None:
            pump.timer.cancel()
        pump.timer = None
        pump.spool.tell()

    def close(self) -> None:
        for id in list(self._all):
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
        if pump := self._watched.get(watch):
            self._unwatch(pump)
            self._look(pump)

    def _look(self, pump: _Pump) -> None:
        pump.timer = None
        delay = _PAUSE
        try:
            if pump.spool.pump():
                delay = 0.0
        except OSError as error:
            if not pump.failing:
                _log.error("output of a container cannot be moved to %s yet: %s", pump.spool.log, error)
            pump.failing, delay = True, _AGAIN
        else:
            pump.failing = False
        pump.spool.tell()
        moved, pump.seen = pump.seen, self._sizes(pump)
        if delay == _PAUSE and moved == pump.seen:
            self._watch(pump)
        else:
            pump.timer = self._loop.call_later(delay, self._look, pump)

    def _watch(self, pump: _Pump) -> None:
        """Listens for the next write; one that came before is seen by the size."""
        try:
            pump.watches = [self._inotify.add(path, MODIFY | _ONCE) for path in pump.spool.paths.values()]
        except HivemindError as error:
            _log.warning("the output of a container is not watched but looked at: %s", error)
            pump.timer = self._loop.call_later(_AGAIN, self._look, pump)
            return
        self._watched |= dict.fromkeys(pump.watches, pump)
        if self._sizes(pump) != pump.seen:
            self._unwatch(pump)
            self._look(pump)

    def _unwatch(self, pump: _Pump) -> None:
        for watch in pump.watches:
            if self._watched.pop(watch, None):
                self._inotify.remove(watch)
        pump.watches = []

    @staticmethod
    def _sizes(pump: _Pump) -> dict[Stream, int]:
        try:
            return pump.spool.sizes()
        except FileNotFoundError:
            return {}


class _Pump:
    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.watches: list[int] = []
        self.timer: asyncio.TimerHandle | None = None
        self.seen: dict[Stream, int] = {}
        self.failing = False
