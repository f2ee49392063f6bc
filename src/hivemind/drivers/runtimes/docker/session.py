"""Commands inside a container, and the container's own terminal: connections that the engine hands over."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec

from hivemind.drivers.runtimes.contract import ExecSpec
from hivemind.drivers.runtimes.docker import configuration, inside
from hivemind.drivers.runtimes.docker.container import Held
from hivemind.drivers.runtimes.docker.engine import Engine
from hivemind.drivers.runtimes.docker.http import Response
from hivemind.drivers.runtimes.docker.streams import Frames, Plain, Stream
from hivemind.errors import Conflict, HivemindError, NotFound

_WAITING = 16
"""Pieces of output that are read ahead of the caller; more slow the command down."""
_KILLED = 128 + signal.SIGKILL
_CANNOT_RUN, _NOT_FOUND = 126, 127
_COULD_NOT_RUN = b"OCI runtime exec failed"
_END_OF_FILE = b"\x04"
_log = logging.getLogger(__name__)


class _Command(msgspec.Struct, frozen=True, rename="pascal"):
    """`GET /exec/{id}/json`."""

    running: bool = False
    exit_code: int | None = None
    pid: int = 0


class Session:
    """`ended`: gives the exit code, and may be asked again and again. `resize_at`: the path for its size."""

    def __init__(
        self,
        engine: Engine,
        connection: Response,
        resize_at: str,
        ended: Callable[[], Awaitable[int]],
        *,
        tty: bool,
    ) -> None:
        self._engine = engine
        self._connection = connection
        self._resize_at = resize_at
        self._ended = ended
        self._tty = tty
        self._output: asyncio.Queue[tuple[Stream, bytes] | None] = asyncio.Queue(_WAITING)
        self._pump = asyncio.ensure_future(self._carry())

    async def read(self) -> tuple[Stream, bytes] | None:
        item = await self._output.get()
        if item is None:
            self._output.put_nowait(None)  # it stays the end
        return item

    async def write(self, data: bytes) -> None:
        with suppress(ConnectionError):  # it does not read any more
            await self._connection.send(data)

    async def close_stdin(self) -> None:
        if self._tty:
            await self.write(_END_OF_FILE)
        else:
            with suppress(OSError):
                self._connection.end_sending()

    async def resize(self, columns: int, rows: int) -> None:
        with suppress(NotFound, Conflict):  # it ended
            await self._engine.call("POST", self._resize_at, query={"h": rows, "w": columns})

    async def wait(self) -> int:
        return await self._ended()

    async def close(self) -> None:
        self._pump.cancel()
        self._connection.close()
        while not self._output.empty():
            self._output.get_nowait()
        self._output.put_nowait(None)  # for whoever is still reading

    async def _carry(self) -> None:
        frames = Plain() if self._tty else Frames()
        try:
            while data := await self._connection.receive():
                for stream, content in frames.feed(data):
                    await self._output.put(self._heard(stream, content))
        except (ConnectionError, HivemindError):
            pass  # how it ended is what `wait` tells
        await self._finish()
        await self._output.put(None)

    def _heard(self, stream: Stream, content: bytes) -> tuple[Stream, bytes]:
        return stream, content

    async def _finish(self) -> None:
        """What is to be known before the end of the output is told."""


class Execution(Session):
    """A command that joined a running container. `exits`: where the code arrives once the engine tells of it."""

    def __init__(
        self,
        engine: Engine,
        connection: Response,
        id: str,
        held: Held,
        exit: asyncio.Future[int],
        *,
        tty: bool,
    ) -> None:
        super().__init__(engine, connection, f"/exec/{id}/resize", self._code, tty=tty)
        self._id = id
        self._held = held
        self._exit = exit
        self._refused = 0
        self._begun = asyncio.Event()
        """The first of its output is there, or its end."""

    async def close(self) -> None:
        if not self._exit.done():
            await self._kill()
        await asyncio.shield(self._exit)
        self._begun.set()
        await super().close()

    async def _code(self) -> int:
        code = await asyncio.shield(self._exit)
        if code in (_CANNOT_RUN, _NOT_FOUND):  # engines confuse them, but say which it was
            await self._begun.wait()
        return self._refused or code

    async def _kill(self) -> None:
        """The engine cannot kill a command, but its process is one of this machine."""
        try:
            command = await self._engine.call("GET", f"/exec/{self._id}/json", type=_Command)
        except HivemindError:
            command = _Command()
        killed = command.pid and await asyncio.to_thread(inside.kill_session, self._held, command.pid)
        if not killed and not self._exit.done():
            _log.warning("a command in container %s could not be killed", self._held.id)
            self._exit.set_result(_KILLED)

    def _heard(self, stream: Stream, content: bytes) -> tuple[Stream, bytes]:
        """The engine says among the output why a command could not be run."""
        if content.startswith(_COULD_NOT_RUN) and not self._begun.is_set():
            self._refused = _CANNOT_RUN if b"permission denied" in content else _NOT_FOUND
            said = re.search(rb'exec: ".*', content)
            stream = "stdout" if self._tty else "stderr"
            content = (said[0] if said else content).rstrip().removesuffix(b": unknown") + b"\n"
        self._begun.set()
        return stream, content

    async def _finish(self) -> None:
        """A command that never ran has no end that could be told of."""
        await settle(self._engine, self._id, self._exit, self._held)
        self._begun.set()


async def settle(engine: Engine, id: str, exit: asyncio.Future[int], held: Held) -> None:
    """Asks the engine whether the command ended, for the case that nobody will tell."""
    if exit.done():
        return
    try:
        command = await engine.call("GET", f"/exec/{id}/json", type=_Command)
    except NotFound:
        command = _Command(exit_code=_KILLED)  # gone with its container
    except HivemindError:
        return  # the engine is away: what there is to know is asked once it is back
    if command.exit_code is None and held.exit is not None:
        command = _Command(exit_code=_KILLED)
    if not command.running and command.exit_code is not None and not exit.done():
        exit.set_result(command.exit_code)


async def begin(
    engine: Engine, held: Held, spec: ExecSpec, commands: dict[str, tuple[Held, asyncio.Future[int]]]
) -> Execution:
    """Runs the command. `commands`: those that run, by id, with the futures that the engine's events complete."""
    body = configuration.exec_body(spec)
    if spec.tty and engine.api >= (1, 42):
        body["ConsoleSize"] = [spec.rows, spec.columns]
    made = await engine.call("POST", f"/containers/{held.engine_id}/exec", body)
    id = str(made["Id"])
    exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    commands[id] = (held, exit)
    exit.add_done_callback(lambda _: commands.pop(id, None))
    how: dict[str, Any] = {"Detach": False, "Tty": spec.tty}
    if spec.tty and engine.api >= (1, 42):
        how["ConsoleSize"] = [spec.rows, spec.columns]
    try:
        connection = await engine.take_over(f"/exec/{id}/start", how)
    except BaseException:
        exit.cancel()
        raise
    session = Execution(engine, connection, id, held, exit, tty=spec.tty)
    if spec.tty and engine.api < (1, 42):
        await session.resize(spec.columns, spec.rows)  # such a command hears of the size by SIGWINCH
    return session


async def attach(engine: Engine, held: Held) -> Session:
    """The container's own terminal, or its streams."""
    connection = await engine.take_over(
        f"/containers/{held.engine_id}/attach",
        query={
            "stream": 1,
            "stdin": int(held.stdin),
            "stdout": 1,
            "stderr": 1,
            "detachKeys": configuration.DETACH_KEYS,
        },
    )

    async def ended() -> int:
        await held.ended.wait()
        assert held.exit is not None
        return held.exit.code if held.exit.code is not None else _KILLED

    return Session(engine, connection, f"/containers/{held.engine_id}/resize", ended, tty=held.tty)
