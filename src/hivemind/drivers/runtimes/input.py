"""What somebody types for a command, on its way into a pipe."""

from __future__ import annotations

import asyncio
import os

_BLOCK = 65_536
_MOST_KEPT = 1 << 20


class Input:
    """What goes to a command, kept here until it reads: a caller may write first and read the answer later."""

    def __init__(self, fd: int) -> None:
        """`fd`: non-blocking, owned from now on; -1: there is no input."""
        self._fd = fd
        self._kept = bytearray()
        self._finished = False
        self._room = asyncio.Event()

    async def write(self, data: bytes) -> None:
        if self._fd < 0 or self._finished:
            return
        self._kept += data
        self._flush()
        while len(self._kept) > _MOST_KEPT and self._fd >= 0:
            self._room.clear()
            await self._room.wait()

    def finish(self) -> None:
        """The command reads an end once it has read the rest."""
        self._finished = True
        self._flush()

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
        self._room.set()

    def _flush(self) -> None:
        if self._fd < 0:
            return
        loop = asyncio.get_running_loop()
        try:
            while self._kept:
                del self._kept[: os.write(self._fd, self._kept[:_BLOCK])]
        except BlockingIOError:
            loop.add_writer(self._fd, self._flush)
            return
        except OSError:  # it closed its input, or ended
            self.close()
            return
        finally:
            self._room.set()
        loop.remove_writer(self._fd)
        if self._finished:
            self.close()
