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
NAME, EARLIER = "shim2", "shim"
"""Of the files that shims of this and of the version before keep in the runtime's directory."""


class Died(Unavailable):
    """What was asked for may have been done, or not: nobody can tell any more."""


class ShimClient:
    """`on_event` gets what the shim tells; `on_lost` is called when the line breaks. `name`: of its socket and lock,
    which each version of the protocol has its own of."""

    def __init__(
        self,
        run_dir: Path,
        on_event: Callable[[dict[str, Any]], None],
        on_lost: Callable[[], None],
        name: str = NAME,
    ) -> None:
        self._run_dir, self.name = run_dir, name
        self._on_event, self._on_lost = on_event, on_lost
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._greeting: dict[str, Any] = {}
        self._line: _Line | None = None
        self._connecting = asyncio.Lock()
        self.patience = 60.0

    @property
    def connected(self) -> bool:
        return self._line is not None

    @property
    def pid(self) -> int:
        """Of the shim that was last heard of; 0: none."""
        return int(self._greeting.get("pid", 0))

    @property
    def tags(self) -> bool:
        """Whether it knows all of a command without control groups."""
        return bool(self._greeting.get("tags"))

    @property
    def ended(self) -> dict[str, Any]:
        """Exits that it could not record yet when the line was made, by id."""
        return dict(self._greeting.get("ended", {}))

    async def connect(self, *, start: bool) -> list[str] | None:
        """The ids of what ran in the shim when the line was made; None when there is no shim and `start` is false.

        A shim of an earlier version gives the list a little before it listens: what ended in between is told to
        nobody, so a recorded exit outweighs the list. Raises `Unavailable` when a shim does not answer."""
        async with self._connecting:
            try:
                async with asyncio.timeout(_CONNECT):
                    while self._line is None:
                        if (sock := self.dial()) is not None and await self._listen(sock):
                            break
                        if sock is None and start:
                            await asyncio.to_thread(self._start)
                        elif sock is None and not self._alive():
                            return None
                        await asyncio.sleep(0.01)
            except TimeoutError:
                raise self._silent() from None
            return list(self._greeting["running"])

    async def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """The shim's answer; the shim is started if there is none. Raises `Died` when it dies meanwhile."""
        if self._line is None:
            await self.connect(start=self.name == NAME)
        if (line := self._line) is None:
            raise Unavailable("the process that starts commands has died", hint="try again")
        loop, number = asyncio.get_running_loop(), next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._answers[number] = answer
        late = loop.call_later(_ANSWER, self._give_up, answer)
        try:
            line.send({"n": number, **message})
            return await answer
        finally:
            late.cancel()
            self._answers.pop(number, None)

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
        """Waits for nobody; whoever still waits for an answer gets `Died`."""
        if (line := self._line) is not None:
            self._hang_up()
            await line.gone.wait()

    async def _listen(self, sock: socket.socket) -> bool:
        """Makes `sock` the line; False when the shim ends meanwhile."""
        loop = asyncio.get_running_loop()
        line = _Line(self._heard, self._broken)
        try:
            await loop.create_unix_connection(lambda: line, sock=sock)
            self._greeting = await line.greeting
            line.send({"n": 0, "do": "listen"})
            # From here on it tells. The list is of this instant too: what a daemon that was killed had asked for may
            # have been started since the greeting.
            self._greeting |= await line.listening
        except OSError:
            line.abort()
            return False
        except BaseException:
            line.abort()
            raise
        if line.gone.is_set():
            return False
        self._line = line
        return True

    def _heard(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._on_event(message)
        elif (answer := self._answers.get(message["n"])) is not None and not answer.done():
            answer.set_result(message)

    def _broken(self, line: _Line) -> None:
        if line is self._line:
            self._hang_up()
            self._on_lost()

    def _give_up(self, answer: asyncio.Future[dict[str, Any]]) -> None:
        if not answer.done():
            answer.set_exception(self._silent())

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.abort()  # closing would wait until the shim has read everything
            self._line = None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Died("the process that starts commands has died", hint="try again"))

    def _silent(self) -> Unavailable:
        return Unavailable(
            "the process that starts commands does not answer",
            hint=f"see {self._run_dir / f'{self.name}.log'}",
        )

    def _alive(self) -> bool:
        """Whether a shim holds the lock, that is: lives, though it may not listen yet."""
        try:
            fd = os.open(self._run_dir / f"{self.name}.lock", os.O_RDWR | os.O_CLOEXEC)
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
            yield f"/proc/self/fd/{fd}/{self.name}.sock"
        finally:
            os.close(fd)


class _Line(asyncio.Protocol):
    """One connection: whole messages in both directions."""

    def __init__(
        self, on_message: Callable[[dict[str, Any]], None], on_broken: Callable[[_Line], None]
    ) -> None:
        self._on_message, self._on_broken = on_message, on_broken
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self.greeting: asyncio.Future[dict[str, Any]] = loop.create_future()
        self.listening: asyncio.Future[dict[str, Any]] = loop.create_future()
        self.gone = asyncio.Event()

    def send(self, message: dict[str, Any]) -> None:
        assert self._transport is not None
        self._transport.write(msgspec.json.encode(message) + b"\n")

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            for line in lines:
                message = msgspec.json.decode(line, type=dict[str, Any])
                if self.listening.done():
                    self._on_message(message)
                else:
                    (self.listening if self.greeting.done() else self.greeting).set_result(message)
        except msgspec.MsgspecError:
            self.abort()  # what cannot be understood is as good as nothing

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set()
        for awaited in (self.greeting, self.listening):
            if not awaited.done():
                awaited.set_exception(ConnectionResetError())
                awaited.exception()  # whoever waits gets it; nobody may wait any more
        self._on_broken(self)
