"""The daemon's line to the shim: found when it runs, started when it is needed, noticed when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

import hivemind
from hivemind.errors import Unavailable

_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from hivemind.drivers.runtimes.process.shim import main"
)
_CONNECT = 30.0
"""Seconds that a shim may take from its start to its greeting."""
_ANSWER = 60.0
"""Seconds that it may take to answer; a command on a slow file system takes long to start."""
_BROKEN = (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, msgspec.MsgspecError)
"""Ways in which a line ends: what cannot be understood is as good as nothing."""


class ShimClient:
    """`on_event` gets what the shim tells; `on_lost` is called when the line breaks."""

    def __init__(
        self, run_dir: Path, on_event: Callable[[dict[str, Any]], None], on_lost: Callable[[], None]
    ) -> None:
        self._run_dir = run_dir
        self._on_event, self._on_lost = on_event, on_lost
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._running: list[str] = []
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()
        self.patience = 60.0

    @property
    def connected(self) -> bool:
        return self._writer is not None

    async def connect(self, *, start: bool) -> list[str] | None:
        """The ids of what ran in the shim when the line was made; None when there is no shim and `start` is false.

        The list is a little older than the listening: what ended in between is told to nobody, so a recorded exit
        outweighs the list. Raises `Unavailable` when there is a shim that does not answer."""
        async with self._connecting:
            try:
                async with asyncio.timeout(_CONNECT):
                    while self._writer is None:
                        if (sock := self.dial()) is not None and await self._listen(sock):
                            break
                        if sock is None and start:
                            await asyncio.to_thread(self._start)
                        elif sock is None and not self._alive():
                            return None
                        await asyncio.sleep(0.01)
            except TimeoutError:
                raise self._silent() from None
            return self._running

    async def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """The shim's answer; the shim is started if there is none. Raises `Unavailable` when it dies meanwhile."""
        if self._writer is None:
            await self.connect(start=True)
        return await self._ask(message)

    def dial(self) -> socket.socket | None:
        """A connection of its own; None when nobody listens."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)  # a shim that hangs may have a full queue of those who want to talk to it
        try:
            with self._short() as path:
                sock.connect(path)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            sock.close()
            return None
        except BaseException:
            sock.close()
            raise
        return sock

    async def close(self) -> None:
        """Waits for nobody; whoever still waits for an answer gets `Unavailable`."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        if (writer := self._writer) is not None:
            self._hang_up()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _listen(self, sock: socket.socket) -> bool:
        """Makes `sock` the line; False when the shim ends meanwhile."""
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=2**24)
        try:
            writer.write(b'{"n": 0, "do": "listen"}\n')
            greeting = msgspec.json.decode(await reader.readuntil(), type=dict[str, Any])
            await reader.readuntil()  # the answer: from here on it tells
        except _BROKEN:
            writer.close()
            return False
        except BaseException:
            writer.close()
            raise
        self._running = greeting["running"]
        self._writer = writer
        self._reading = asyncio.get_running_loop().create_task(self._read(reader))
        return True

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._writer is None:
            raise _died()
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            async with asyncio.timeout(_ANSWER):
                self._writer.write(msgspec.json.encode({"n": number, **message}) + b"\n")
                return await answer
        except TimeoutError:
            raise self._silent() from None
        finally:
            self._answers.pop(number, None)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(*_BROKEN):
            while True:
                message = msgspec.json.decode(await reader.readuntil(), type=dict[str, Any])
                if "event" in message:
                    self._on_event(message)
                elif (answer := self._answers.get(message["n"])) is not None and not answer.done():
                    answer.set_result(message)
        self._hang_up()
        self._on_lost()

    def _hang_up(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()  # closing would wait until the shim has read everything
            self._writer = None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(_died())

    def _silent(self) -> Unavailable:
        return Unavailable(
            "the process that starts commands does not answer", hint=f"see {self._run_dir / 'shim.log'}"
        )

    def _alive(self) -> bool:
        """Whether a shim holds the lock, that is: lives, though it may not listen yet."""
        try:
            fd = os.open(self._run_dir / "shim.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def _start(self) -> None:
        """Blocks until it listens, or has ended because another one lives."""
        source = str(Path(hivemind.__file__).resolve().parent.parent)
        python = os.path.realpath(sys.executable)
        code = f"{_START}; main(sys.argv[1], float(sys.argv[2]))"
        command = [python, "-I", "-S", "-c", code, source, str(self._run_dir), str(self.patience)]
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/"
        )
        with child:
            assert child.stdout is not None and child.stderr is not None
            said = child.stdout.readline()
            if not said and (problem := child.stderr.read()):
                raise Unavailable(
                    f"cannot start the process that runs commands: {problem.decode('utf-8', 'replace')[-300:]}",
                    hint="check that this Python installation is whole",
                )

    @contextlib.contextmanager
    def _short(self) -> Iterator[str]:
        """A path for the socket that fits into a socket address however long the directory's name is."""
        fd = os.open(self._run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{fd}/shim.sock"
        finally:
            os.close(fd)


def _died() -> Unavailable:
    return Unavailable("the process that starts commands has died", hint="try again")
