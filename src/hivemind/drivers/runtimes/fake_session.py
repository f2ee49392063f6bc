"""Commands inside fake containers, and being attached to the main one."""

from __future__ import annotations

import asyncio
import signal as signals
from collections.abc import Awaitable, Callable
from typing import Literal

from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec, Exit
from hivemind.drivers.runtimes.fake_shell import Process

Stream = Literal["stdout", "stderr"]


class Lines:
    """Input of a process, whole lines at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._partial = b""

    def write(self, data: bytes) -> None:
        *whole, self._partial = (self._partial + data).split(b"\n")
        for line in whole:
            self._process.stdin.put_nowait(line + b"\n")

    def end(self) -> None:
        if self._partial:
            self._process.stdin.put_nowait(self._partial)
            self._partial = b""
        self._process.stdin.put_nowait(b"")


class Output:
    """What a session has not read yet; the end stays."""

    def __init__(self, *, tty: bool) -> None:
        self._tty = tty
        self._queue: asyncio.Queue[tuple[Stream, bytes] | None] = asyncio.Queue()

    def put(self, stream: Stream, data: bytes) -> None:
        if self._tty:
            stream, data = "stdout", data.replace(b"\n", b"\r\n")
        self._queue.put_nowait((stream, data))

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def get(self) -> tuple[Stream, bytes] | None:
        item = await self._queue.get()
        if item is None:
            self._queue.put_nowait(None)
        return item


class FakeSession:
    """A command inside a fake container."""

    def __init__(
        self, base: ContainerSpec, spec: ExecSpec, pid: int, on_end: Callable[[FakeSession], None]
    ) -> None:
        self._output = Output(tty=spec.tty)
        self.process = Process(
            spec.args,
            {**base.env, **spec.env},
            spec.workdir or base.workdir,
            spec.user or base.user,
            pid,
            self._output.put,
            (spec.rows, spec.columns),
        )
        self._input = Lines(self.process)
        if not spec.stdin:
            self._input.end()
        self._on_end = on_end
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def read(self) -> tuple[Stream, bytes] | None:
        return await self._output.get()

    async def write(self, data: bytes) -> None:
        self._input.write(data)

    async def close_stdin(self) -> None:
        self._input.end()

    async def resize(self, columns: int, rows: int) -> None:
        self.process.size = (rows, columns)

    async def wait(self) -> int:
        return await asyncio.shield(self._task)

    async def close(self) -> None:
        self.process.signal(signals.SIGKILL)
        await self.wait()

    async def _run(self) -> int:
        try:
            return await self.process.run()
        finally:
            self._on_end(self)
            self._output.end()


class FakeAttached:
    """The main process's own input and output."""

    def __init__(
        self,
        spec: ContainerSpec,
        process: Process,
        lines: Lines,
        ended: Callable[[], Awaitable[Exit]],
        on_leave: Callable[[FakeAttached], None],
    ) -> None:
        self._spec = spec
        self._process = process
        self._input = lines
        self._ended = ended
        self._on_leave = on_leave
        self._open = spec.stdin
        self.output = Output(tty=spec.tty)

    async def read(self) -> tuple[Stream, bytes] | None:
        return await self.output.get()

    async def write(self, data: bytes) -> None:
        if self._open:
            self._input.write(data)

    async def close_stdin(self) -> None:
        if self._open:
            self._open = False
            self._input.end()

    async def resize(self, columns: int, rows: int) -> None:
        if self._spec.tty:
            self._process.size = (rows, columns)

    async def wait(self) -> int:
        code = (await self._ended()).code
        return 255 if code is None else code

    async def close(self) -> None:
        self._on_leave(self)
        if not self._spec.tty:
            await self.close_stdin()
        self.output.end()
