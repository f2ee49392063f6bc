"""The main process's own input and output, over the socket that its monitor (conmon) keeps for that.

Each message from it begins with a byte that says which stream the rest is of; what is sent to it goes to the
container as it is. A message without content is the end of the input. The monitor waits for whoever does not read,
and with it the container: what is read here is handed on at once or not read at all.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal

from hivemind.drivers.runtimes.contract import Exit
from hivemind.drivers.runtimes.oci.container import Held
from hivemind.drivers.runtimes.oci.monitor import resize_terminal
from hivemind.errors import Conflict

_SOCKET = "attach"
_STDERR = 3
_LARGEST = 8192
"""Bytes of input in a message; the monitor drops what is over 32 KiB without a word."""
_MESSAGE = 1 << 16
_CONTROL_D = b"\x04"
_NOBODY_KNOWS = 255

Stream = Literal["stdout", "stderr"]


class Attached:
    """Implements `ExecSession`. Leaving does not end the container; without a terminal it ends its input."""

    def __init__(self, held: Held, sock: socket.socket, ended: Callable[[], Awaitable[Exit]]) -> None:
        self._held = held
        self._sock = sock
        self._ended = ended
        self._reading, self._writing = asyncio.Lock(), asyncio.Lock()
        self._input_open = held.record.spec.stdin

    async def read(self) -> tuple[Stream, bytes] | None:
        async with self._reading:
            while self._sock.fileno() >= 0:
                try:
                    message = await asyncio.get_running_loop().sock_recv(self._sock, _MESSAGE)
                except ConnectionResetError:
                    return None
                if not message:
                    return None
                if len(message) > 1:
                    return "stderr" if message[0] == _STDERR else "stdout", message[1:]
            return None

    async def write(self, data: bytes) -> None:
        """Waits while the container does not read; dropped where it has no input."""
        async with self._writing:
            for start in range(0, len(data), _LARGEST):
                if self._input_open:
                    await self._send(data[start : start + _LARGEST])

    async def close_stdin(self) -> None:
        if self._held.record.spec.tty:
            await self.write(_CONTROL_D)
            return
        async with self._writing:
            if self._input_open:
                self._input_open = False
                self._sock.shutdown(socket.SHUT_WR)

    async def resize(self, columns: int, rows: int) -> None:
        if self._held.record.spec.tty:
            resize_terminal(self._held.directory, columns, rows)

    async def wait(self) -> int:
        code = (await self._ended()).code
        return _NOBODY_KNOWS if code is None else code

    async def close(self) -> None:
        self._input_open = False
        if self._sock.fileno() >= 0:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # whoever reads or writes hears of it, and lets go
            async with self._reading, self._writing:
                self._sock.close()

    async def _send(self, data: bytes) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(self._sock, data)
        except (BrokenPipeError, ConnectionResetError):
            self._input_open = False  # it ended, or has closed its input


def attach(held: Held, ended: Callable[[], Awaitable[Exit]]) -> Attached:
    """To a container that was created or runs. Output from before is in its log."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.setblocking(False)
    directory = os.open(held.directory.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # a socket's address is at most 108 bytes long
        sock.connect(f"/proc/self/fd/{directory}/{_SOCKET}")
    except OSError as error:
        sock.close()
        if error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
            raise
        raise Conflict(f"container {held.id} has just ended", hint="read its log") from error
    finally:
        os.close(directory)
    return Attached(held, sock, ended)
