"""The main process's own input and output: what it writes is read where containerd's shim puts it, beside the log."""

from __future__ import annotations

import os
from contextlib import suppress

from hivemind.drivers.runtimes.containerd.api import Api
from hivemind.drivers.runtimes.containerd.container import Held
from hivemind.drivers.runtimes.containerd.spool import STREAMS, Reader, Stream
from hivemind.drivers.runtimes.contract import Status
from hivemind.drivers.runtimes.input import Input
from hivemind.errors import HivemindError

_CONTROL_D = b"\x04"
_NOBODY_KNOWS = 255


class Attached:
    """Implements `ExecSession`. Leaving does not end the container; without a terminal it ends its input."""

    def __init__(self, api: Api, held: Held) -> None:
        spec = held.record.spec
        self._api = api
        self._held = held
        fresh = held.status is Status.CREATED
        self._reader = Reader(held.spool, dict.fromkeys(STREAMS, 0) if fresh else held.spool.sizes())
        self._input = Input(_open_input(held) if spec.stdin else -1)
        self._left = False

    async def read(self) -> tuple[Stream, bytes] | None:
        while not self._left:
            self._reader.news.clear()
            ended = self._held.ended.is_set()
            if found := self._reader.read():
                return found
            if ended:
                return None
            await self._reader.news.wait()
        return None

    async def write(self, data: bytes) -> None:
        await self._input.write(data)

    async def close_stdin(self) -> None:
        spec = self._held.record.spec
        if spec.tty:
            await self.write(_CONTROL_D)
        elif spec.stdin:
            self._input.finish()
            with suppress(HivemindError):  # it ended just now
                await self._api.call("tasks.v1.Tasks/CloseIO", container_id=self._held.name, stdin=True)

    async def resize(self, columns: int, rows: int) -> None:
        if self._held.record.spec.tty and not self._held.ended.is_set():
            with suppress(HivemindError):
                await self._api.call(
                    "tasks.v1.Tasks/ResizePty", container_id=self._held.name, width=columns, height=rows
                )

    async def wait(self) -> int:
        await self._held.ended.wait()
        assert self._held.exit is not None
        return _NOBODY_KNOWS if self._held.exit.code is None else self._held.exit.code

    async def close(self) -> None:
        if self._left:
            return
        self._left = True
        self._reader.close()
        if not self._held.record.spec.tty and not self._held.ended.is_set():
            await self.close_stdin()
        self._input.close()


def _open_input(held: Held) -> int:
    """The shim holds both ends, so this does not wait, and nobody's leaving is the end of the input."""
    try:
        return os.open(held.directory.stdin, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # it ended just now
        return -1
