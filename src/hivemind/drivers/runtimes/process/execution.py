"""A command inside a running one: started by the shim with descriptors that the daemon keeps the other ends of.

Each session has a connection to the shim of its own. Closing it, also by the daemon's death, kills the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import struct
import termios
from typing import Any, Literal

import msgspec

from hivemind.drivers.runtimes.contract import ExecSpec
from hivemind.drivers.runtimes.process.client import ShimClient
from hivemind.errors import Unavailable

Stream = Literal["stdout", "stderr"]
_MOST_UNREAD = 64
"""Pieces of output kept for a slow reader before the command has to wait."""


async def open_session(shim: ShimClient, id: str, order: dict[str, Any], spec: ExecSpec) -> Session:
    sock = shim.dial()
    if sock is None:
        raise Unavailable("the process that starts commands has died", hint="try again")
    order["mark"] = order["env"]["HIVEMIND_COMMAND"] = f"{order['mark']}/exec-{os.urandom(6).hex()}"
    ours, theirs = _ends(spec)
    request = {"n": 1, "do": "exec", "beside": id, "order": order | {"tty": spec.tty}}
    message = msgspec.json.encode(request) + b"\n"
    try:
        sent = socket.send_fds(sock, [message], theirs)
        if sent < len(message):
            await asyncio.get_running_loop().sock_sendall(sock, message[sent:])
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        await reader.readuntil()
        answer = msgspec.json.decode(await reader.readuntil(), type=dict[str, Any])
    except (OSError, asyncio.IncompleteReadError) as error:
        sock.close()
        for fd in ours:
            os.close(fd)
        raise Unavailable("the process that starts commands has died", hint="try again") from error
    finally:
        for fd in theirs:
            os.close(fd)
    return Session(spec, ours, reader, writer, answer)


def _ends(spec: ExecSpec) -> tuple[list[int], list[int]]:
    """The daemon's ends of input, output and errors (a terminal has one), and the command's three."""
    if spec.tty:
        master, terminal = os.openpty()
        _set_size(master, spec.columns, spec.rows)
        return [master], [terminal, os.dup(terminal), os.dup(terminal)]
    (out, command_out), (err, command_err) = os.pipe(), os.pipe()
    command_in, into = os.pipe()
    return [into, out, err], [command_in, command_out, command_err]


def _set_size(fd: int, columns: int, rows: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Session:
    """Implements `ExecSession`."""

    def __init__(
        self,
        spec: ExecSpec,
        ours: list[int],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: dict[str, Any],
    ) -> None:
        self._tty = spec.tty
        self._loop = asyncio.get_running_loop()
        self._reader, self._writer = reader, writer
        self._output: asyncio.Queue[tuple[Stream, bytes] | None] = asyncio.Queue()
        self._sources: dict[int, Stream] = {}
        self._into = ours[0]
        self._input_open = True
        self._writing = asyncio.Lock()
        for fd in ours:
            os.set_blocking(fd, False)
        outputs: list[Stream] = ["stdout"] if spec.tty else ["stdout", "stderr"]
        for fd, name in zip(ours if spec.tty else ours[1:], outputs, strict=True):
            self._sources[fd] = name
            self._loop.add_reader(fd, self._readable, fd)
        if not spec.stdin and not spec.tty:
            self._close_input()
        if "errno" in answer:
            number = answer["errno"]
            text = f"cannot {answer['stage']} {spec.args[0] if spec.args else ''!r}: {os.strerror(number)}\n"
            self._output.put_nowait(("stdout" if spec.tty else "stderr", text.encode()))
            self._code: asyncio.Task[int] = self._loop.create_task(_known(127 if number == 2 else 126))
        else:
            self._code = self._loop.create_task(self._ending())

    async def read(self) -> tuple[Stream, bytes] | None:
        item = await self._output.get()
        if item is None:
            self._output.put_nowait(None)
        elif self._output.qsize() == _MOST_UNREAD // 2:
            for fd in self._sources:
                self._loop.add_reader(fd, self._readable, fd)
        return item

    async def write(self, data: bytes) -> None:
        """Waits while the command does not read; what it will never read is dropped."""
        view = memoryview(data)
        async with self._writing:
            while view and self._input_open:
                try:
                    view = view[os.write(self._into, view) :]
                except BlockingIOError:
                    await self._writable()
                except OSError as error:
                    if error.errno not in (errno.EPIPE, errno.EIO):
                        raise
                    return

    async def close_stdin(self) -> None:
        if self._tty:
            await self.write(b"\x04")
        else:
            async with self._writing:
                self._close_input()

    async def resize(self, columns: int, rows: int) -> None:
        if self._tty and self._sources:
            _set_size(self._into, columns, rows)

    async def wait(self) -> int:
        return await asyncio.shield(self._code)

    async def close(self) -> None:
        if not self._code.done():
            self._writer.write(b'{"n": 2, "do": "hush"}\n')
        await self.wait()
        self._close_input()
        for fd in list(self._sources):
            self._end_of(fd)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _readable(self, fd: int) -> None:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # how a terminal says that nobody has it open any more
                raise
            data = b""
        if not data:
            self._end_of(fd)
            return
        self._output.put_nowait((self._sources[fd], data))
        if self._output.qsize() >= _MOST_UNREAD:
            for source in self._sources:
                self._loop.remove_reader(source)

    def _end_of(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        del self._sources[fd]
        if self._tty:
            self._input_open = False  # a terminal's one descriptor serves both ways
            self._loop.remove_writer(fd)
        os.close(fd)
        if not self._sources:
            self._output.put_nowait(None)

    def _close_input(self) -> None:
        if self._input_open and not self._tty:
            self._input_open = False
            self._loop.remove_writer(self._into)
            os.close(self._into)

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()

        def go_on(*_: object) -> None:
            if not ready.done():
                ready.set_result(None)

        self._loop.add_writer(self._into, go_on)
        self._code.add_done_callback(go_on)
        try:
            await ready
        finally:
            self._loop.remove_writer(self._into)

    async def _ending(self) -> int:
        """137 when the shim itself died: the command lost its terminal or pipes and nobody saw how it ended."""
        try:
            while True:
                message = msgspec.json.decode(await self._reader.readuntil(), type=dict[str, Any])
                if message.get("event") == "exec":
                    return int(message["code"])
        except (asyncio.IncompleteReadError, OSError):
            return 137


async def _known(code: int) -> int:
    return code
