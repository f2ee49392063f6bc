"""A complete runtime in memory, for tests of everything above it.

`FakeMachine` is what outlives a daemon; `FakeRuntime(machine)` is one daemon's hold on it. Containers run the
little shell of `fake_shell`. A test makes the machine misbehave:

    machine.failures["start"] = Unavailable("disk full")   # the next start fails once
    machine.delays["create"] = 0.2                         # seconds, each time
    machine.crash(id, code=137, oom=True)                  # that container dies now
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import signal as signals
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal

from hivemind.drivers.runtimes import kept_log
from hivemind.drivers.runtimes.contract import (
    Container,
    ContainerSpec,
    ExecSession,
    ExecSpec,
    Exit,
    FileChange,
    LogLine,
    LogQuery,
    OnProgress,
    ProcessInfo,
    PullPolicy,
    PullProgress,
    RuntimeEvent,
    Stats,
    Status,
)
from hivemind.drivers.runtimes.fake_files import Files
from hivemind.drivers.runtimes.fake_session import FakeAttached, FakeSession, Lines
from hivemind.drivers.runtimes.fake_shell import Process
from hivemind.drivers.runtimes.signals import signal_number
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound
from hivemind.model.image import Image, ImageConfig, parse_reference

Stream = Literal["stdout", "stderr"]


class _Instance:
    """One container of the machine."""

    def __init__(self, spec: ContainerSpec, created: int, pid: int) -> None:
        self.spec = spec
        self.created = created
        self.started = 0
        self.process = Process(spec.args, dict(spec.env), spec.workdir, spec.user, pid, self.write)
        self.input = Lines(self.process)
        if not spec.stdin:
            self.input.end()
        self.task: asyncio.Task[None] | None = None
        self.exit: Exit | None = None
        self.ended = asyncio.Event()
        self.lines: list[LogLine] = []
        self.partial: dict[Stream, bytes] = {}
        self._readers: list[asyncio.Future[None]] = []
        self.sessions: set[FakeSession] = set()
        self.attached: set[FakeAttached] = set()
        self.files = Files()

    def write(self, stream: Stream, data: bytes) -> None:
        for session in self.attached:
            session.output.put(stream, data)
        *whole, rest = (self.partial.pop(stream, b"") + data).split(b"\n")
        for line in whole:
            self.lines.append(LogLine(time.time_ns(), stream, line.decode("utf-8", "replace")))
        if rest:
            self.partial[stream] = rest
        self._wake()

    async def more(self) -> None:
        """Returns when something was written or it ended."""
        reader = asyncio.get_running_loop().create_future()
        self._readers.append(reader)
        await reader

    def _wake(self) -> None:
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)
        self._readers.clear()

    def flush(self) -> None:
        for stream in list(self.partial):
            self.write(stream, b"\n")
        self._wake()


class FakeMachine:
    """Containers, images and planned misfortunes. `clock` gives milliseconds since 1970."""

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self.clock = clock or _now
        self.containers: dict[str, _Instance] = {}
        self.images: dict[str, Image] = {}
        self.failures: dict[str, HivemindError] = {}
        """By method name; each fails once."""
        self.delays: dict[str, float] = {}
        """Seconds by method name; each call."""
        self.calls: list[tuple[str, str]] = []
        """(method, container id or image reference), in order."""
        self.pids = itertools.count(1000)
        self.untold: dict[str, RuntimeEvent] = {}
        """Exits that no consumer has heard of."""
        self.news = asyncio.Event()

    def add_image(self, reference: str, config: ImageConfig | None = None) -> Image:
        """An image that `pull` finds."""
        name = str(parse_reference(reference))
        digest = f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
        image = Image(digest=digest, names=(name,), config=config or ImageConfig())
        self.images[name] = image
        return image

    def crash(self, id: str, code: int | None = 1, *, oom: bool = False, reason: str = "") -> None:
        """That container's main process ends now with this code."""
        instance = self.containers[id]
        if instance.task is not None and instance.exit is None:
            instance.task.cancel()
            self.end(instance, Exit(code=code, oom=oom, at=self.clock(), reason=reason))

    def end(self, instance: _Instance, exit: Exit) -> None:
        if instance.exit is not None:
            return
        instance.exit = exit
        instance.flush()
        id = instance.spec.id
        self.untold[id] = RuntimeEvent(kind="exited", id=id, exit=exit)
        instance.ended.set()
        self.news.set()
        for attached in instance.attached:
            attached.output.end()
        for session in list(instance.sessions):
            session.process.signal(signals.SIGKILL)

    async def run(self, instance: _Instance, process: Process) -> None:
        code = await process.run()
        self.end(instance, Exit(code=code, at=self.clock()))


class FakeRuntime:
    name = "fake"
    trouble = ""

    def __init__(self, machine: FakeMachine | None = None) -> None:
        self.machine = machine or FakeMachine()

    async def open(self) -> None:
        await self._called("open", "")

    async def close(self) -> None:
        await self._called("close", "")

    async def pull(
        self, reference: str, on_progress: OnProgress | None = None, *, policy: PullPolicy = "missing"
    ) -> Image:
        await self._called("pull", reference)
        image = self.machine.images.get(str(parse_reference(reference)))
        if image is None:
            raise NotFound(f"there is no image {reference}", hint="check its name and tag")
        if on_progress is not None:
            on_progress(PullProgress("done", image.size, image.size))
        return image

    async def create(self, spec: ContainerSpec) -> None:
        await self._called("create", spec.id)
        if spec.id in self.machine.containers:
            raise Conflict(f"container {spec.id} exists")
        instance = _Instance(spec, self.machine.clock(), next(self.machine.pids))
        if not instance.process.known():
            raise Invalid(f"there is no executable {spec.args[:1]}", hint="check the command of the app")
        if spec.user.partition(":")[0] == "nobody-like-this":
            raise Invalid(f"there is no user {spec.user}")
        self.machine.containers[spec.id] = instance

    async def start(self, id: str) -> int:
        await self._called("start", id)
        instance = self._instance(id)
        if instance.task is not None:
            raise Conflict(f"container {id} was started already", hint="create a new one")
        instance.started = self.machine.clock()
        instance.task = asyncio.get_running_loop().create_task(self.machine.run(instance, instance.process))
        return instance.process.pid

    async def stop(self, id: str, signal: str, grace: float) -> Exit:
        await self._called("stop", id)
        signal_number(signal)
        instance = self.machine.containers.get(id)
        if instance is None:
            return Exit(code=None, at=self.machine.clock(), reason="it is not here any more")
        if instance.task is None:
            self.machine.end(
                instance, Exit(code=None, at=self.machine.clock(), reason="stopped before it was started")
            )
        await self.kill(id, signal)
        try:
            async with asyncio.timeout(grace):
                await instance.ended.wait()
        except TimeoutError:
            await self.kill(id, "SIGKILL")
        return await self.wait(id)

    async def kill(self, id: str, signal: str) -> None:
        await self._called("kill", id)
        number, instance = signal_number(signal), self.machine.containers.get(id)
        if instance is not None and instance.task is not None and instance.exit is None:
            instance.process.signal(number)

    async def wait(self, id: str) -> Exit:
        instance = self._instance(id)
        await instance.ended.wait()
        assert instance.exit is not None
        return instance.exit

    async def remove(self, id: str) -> None:
        await self._called("remove", id)
        instance = self.machine.containers.pop(id, None)
        if instance is None:
            return
        if instance.task is not None:
            instance.task.cancel()
            self.machine.end(instance, Exit(code=137, at=self.machine.clock(), reason="removed"))

    async def exec(self, id: str, spec: ExecSpec) -> ExecSession:
        await self._called("exec", id)
        instance = self._running(id)
        session = FakeSession(instance.spec, spec, next(self.machine.pids), instance.sessions.discard)
        instance.sessions.add(session)
        return session

    async def attach(self, id: str) -> ExecSession:
        await self._called("attach", id)
        instance = self._instance(id)
        if instance.exit is not None:
            raise Conflict(f"container {id} has ended")
        session = FakeAttached(
            instance.spec, instance.process, instance.input, lambda: self.wait(id), instance.attached.discard
        )
        instance.attached.add(session)
        return session

    async def processes(self, id: str) -> list[ProcessInfo]:
        instance = self._running(id)
        main = instance.process
        inside = [(main, 0), *((session.process, main.pid) for session in instance.sessions)]
        return [
            ProcessInfo(
                pid=process.pid,
                parent=parent,
                user=process.user.partition(":")[0] or "root",
                state="S",
                cpu_seconds=0.0,
                memory=2**20,
                started=instance.started,
                command=" ".join(process.args),
            )
            for process, parent in inside
        ]

    async def changes(self, id: str) -> list[FileChange]:
        return self._instance(id).files.changes()

    async def read_files(self, id: str, path: str) -> AsyncIterator[bytes]:
        yield self._instance(id).files.read(path)

    async def write_files(self, id: str, path: str, chunks: AsyncIterator[bytes]) -> None:
        await self._instance(id).files.write(path, chunks)

    async def logs(self, id: str, query: LogQuery) -> AsyncIterator[LogLine]:
        instance = self._instance(id)

        def wanted(lines: list[LogLine]) -> list[LogLine]:
            return [
                line
                for line in lines
                if line.time >= query.since and (not query.until or line.time < query.until)
            ]

        at = len(instance.lines)
        history = wanted(instance.lines)
        for line in history if query.tail is None else history[max(0, len(history) - query.tail) :]:
            yield line
        while query.follow:
            done = instance.exit is not None
            fresh, at = wanted(instance.lines[at:]), len(instance.lines)
            for line in fresh:
                yield line
            if done:
                return
            await instance.more()

    async def keep_log(self, id: str, file: Path) -> None:
        await self._called("keep_log", id)
        instance = self._instance(id)
        if instance.task is not None and instance.exit is None:
            raise Conflict(f"container {id} runs, and its log with it")
        spec = instance.spec
        await kept_log.write(self.logs(id, LogQuery()), file, spec.log_max_size, spec.log_max_files)

    async def stats(self, id: str) -> Stats:
        instance = self._instance(id)
        if instance.task is None or instance.exit is not None:
            raise NotFound(f"container {id} is not running, so it uses nothing")
        seconds = (self.machine.clock() - instance.started) / 1000
        return Stats(cpu_seconds=seconds, memory=2**20, memory_limit=instance.spec.memory, pids=1)

    async def list(self) -> list[Container]:
        return [_describe(instance) for instance in self.machine.containers.values()]

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            self.machine.news.clear()
            while self.machine.untold:
                yield self.machine.untold.pop(next(iter(self.machine.untold)))
            await self.machine.news.wait()

    def _running(self, id: str) -> _Instance:
        instance = self._instance(id)
        if instance.task is None or instance.exit is not None:
            raise Conflict(f"container {id} is not running")
        return instance

    def _instance(self, id: str) -> _Instance:
        try:
            return self.machine.containers[id]
        except KeyError:
            raise NotFound(f"there is no container {id}") from None

    async def _called(self, method: str, subject: str) -> None:
        self.machine.calls.append((method, subject))
        if delay := self.machine.delays.get(method):
            await asyncio.sleep(delay)
        if failure := self.machine.failures.pop(method, None):
            raise failure


def _describe(instance: _Instance) -> Container:
    status = Status.EXITED if instance.exit else Status.RUNNING if instance.task else Status.CREATED
    return Container(
        id=instance.spec.id,
        status=status,
        pid=instance.process.pid if status is Status.RUNNING else 0,
        created=instance.created,
        started=instance.started,
        exit=instance.exit,
        labels=instance.spec.labels,
        image=instance.spec.image,
    )


def _now() -> int:
    return time.time_ns() // 1_000_000
