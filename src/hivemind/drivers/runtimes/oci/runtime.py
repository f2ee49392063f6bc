"""The embedded runtime: containers from our own image store, overlay mounts, conmon and crun (or runc).

No other daemon stands between: each container has one small monitor of its own, and everything that must survive
this process is in files (`record`). Blocking steps run on the threads of the mount namespace; what happens later
(a container's end, memory running out) arrives through descriptors, without a poll.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import signal as signals
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from hivemind.drivers.runtimes import kept_log
from hivemind.drivers.runtimes.cgroups import Cgroup
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
    RuntimeEvent,
    Stats,
    Status,
)
from hivemind.drivers.runtimes.logs import read_log
from hivemind.drivers.runtimes.oci import lifecycle, ranges, rights, stage
from hivemind.drivers.runtimes.oci.borrowed import Borrowed, network_bytes
from hivemind.drivers.runtimes.oci.container import Held
from hivemind.drivers.runtimes.oci.idmap import Unmappable
from hivemind.drivers.runtimes.oci.monitor import Programs
from hivemind.drivers.runtimes.oci.mountns import MountNamespace
from hivemind.drivers.runtimes.oci.probe import choose, find_programs, try_users
from hivemind.drivers.runtimes.oci.ranges import Ranges
from hivemind.drivers.runtimes.oci.record import Directory, Record, boot_id
from hivemind.drivers.runtimes.oci.rotation import Rotation
from hivemind.drivers.runtimes.secrets import check_secrets
from hivemind.drivers.runtimes.signals import signal_number
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound
from hivemind.model.image import Image

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_log = logging.getLogger(__name__)


class Images(Protocol):
    """What this runtime asks of an image store."""

    def get(self, digest: str) -> Image:
        """Raises `NotFound`."""

    def layers(self, digest: str) -> Sequence[Path]:
        """Unpacked, lowest first; they stay while a container uses them."""

    async def pull(
        self, reference: str, on_progress: OnProgress | None = None, *, policy: PullPolicy = "missing"
    ) -> Image: ...


class OciRuntime:
    name = "oci"
    trouble = ""

    def __init__(
        self,
        state_dir: Path,
        run_dir: Path,
        images: Images,
        *,
        runtime: str = "auto",
        container_users: str = ranges.DEFAULT,
    ) -> None:
        """`state_dir` outlives restarts of the machine, `run_dir` need not. `runtime`: auto, crun or runc.
        `container_users`: the node's user ids for containers, as FIRST-LAST, or off. Raises `Invalid`."""
        self._state = state_dir.absolute()
        self._run = run_dir.absolute()
        self._private = self._run / "secret"
        self._images = images
        self._wanted = runtime
        self._programs: dict[str, Programs] = {}
        self._chosen: Programs
        self._namespace = MountNamespace(self._run / "ns" / "mnt", self._state)
        self._slice = f"hivemind-{hashlib.sha256(os.fsencode(self._state)).hexdigest()[:12]}"
        self._held: dict[str, Held] = {}
        self._making: set[str] = set()
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._rotation: Rotation | None = None
        self._user_span = ranges.parse(container_users)
        self._ranges: Ranges | None = None
        self._stage: Path | None = None
        self.why_host_users = ""
        """Why containers have the node's users; empty when they have users of their own, as far as they can."""

    async def open(self) -> None:
        for made in (self._state / "containers", self._state / "exits", self._run):
            made.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._programs = find_programs(self._run, self._wanted)
        await asyncio.to_thread(self._namespace.open)
        try:
            self._rotation = Rotation()
            kept = self._state / "runtime.json"
            self._chosen = await self._namespace.run(
                choose, self._programs, self._wanted, kept, self._run, self._slice
            )
            await self._prepare_users()
            found = [path.name for path in (self._state / "containers").iterdir()]
            await asyncio.gather(*(self._adopt(id) for id in found))
        except BaseException:
            await self._let_go()
            await asyncio.to_thread(self._namespace.abandon)
            raise

    async def _prepare_users(self) -> None:
        """Gives containers users of their own where this machine can. The stage is found even where they shall have
        none: containers of an earlier setting may still be on it."""
        programs = (path for each in self._programs.values() for path in (each.runtime, each.monitor))
        # The threads in there load modules of this program, too.
        needed = [self._state, self._run, Path(sys.prefix), Path(__file__), *map(Path, programs)]
        self._stage = await self._namespace.run(stage.prepare, needed)
        self._ranges = None
        if self._user_span is None:
            self.why_host_users = "it is set so (container_users)"
            return
        if self._stage is None:
            self.why_host_users = "every directory for putting containers together is in use"
            return
        start = int.from_bytes(hashlib.sha256(os.fsencode(self._state)).digest()[:2], "big")
        numbers = Ranges(self._user_span, await asyncio.to_thread(ranges.claimed), start)
        trial = Directory(self._state / "trial", f"trial.{self._slice}", self._stage)
        self.why_host_users = await self._namespace.run(
            try_users, self._chosen, trial, numbers.give(trial.path.name), f"/{self._slice}/trial",
            self._state / "runtime.json",
        )  # fmt: skip
        numbers.take_back(trial.path.name)
        if self.why_host_users:
            _log.warning("containers have the users of this machine: %s", self.why_host_users)
        else:
            self._ranges = numbers

    async def close(self) -> None:
        await self._let_go()
        await asyncio.to_thread(self._namespace.close)

    async def destroy(self) -> None:
        """Kills and removes every container, then every other trace of this runtime on the machine."""
        await asyncio.gather(*(self.remove(id) for id in list(self._held)))
        await self.close()
        await asyncio.to_thread(self._namespace.destroy)
        Cgroup(self._slice).remove()

    async def pull(
        self, reference: str, on_progress: OnProgress | None = None, *, policy: PullPolicy = "missing"
    ) -> Image:
        return await self._images.pull(reference, on_progress, policy=policy)

    async def create(self, spec: ContainerSpec) -> None:
        if not _ID.fullmatch(spec.id):
            raise Invalid(
                f"{spec.id!r} is not a container id", hint="letters, digits, dots and dashes, at most 100"
            )
        if spec.id in self._held or spec.id in self._making:
            raise Conflict(f"container {spec.id} exists already")
        check_secrets(spec, self._run)
        self._making.add(spec.id)
        await asyncio.shield(self._spawn(self._create(spec)))

    async def start(self, id: str) -> int:
        held = self._find(id)
        async with held.busy:
            if held.status is not Status.CREATED:
                raise Conflict(f"container {id} was started already", hint="create a new one")
            programs = self._programs[held.record.runtime]
            held.record = await self._namespace.run(lifecycle.start, programs, held.directory, held.record)
        return held.record.pid

    async def stop(self, id: str, signal: str, grace: float) -> Exit:
        held = self._held.get(id)
        if held is None:
            return Exit(code=None, reason="it is gone")
        if held.status is Status.RUNNING and grace > 0:
            held.signal(signal_number(signal))
            try:
                async with asyncio.timeout(grace):
                    await held.ended.wait()
            except TimeoutError:
                pass
        return await self._end(held)

    async def kill(self, id: str, signal: str) -> None:
        number = signal_number(signal)
        if held := self._held.get(id):
            held.signal(number)

    async def wait(self, id: str) -> Exit:
        held = self._find(id)
        await held.ended.wait()
        assert held.exit is not None
        return held.exit

    async def remove(self, id: str) -> None:
        held = self._held.get(id)
        if held is None:
            return
        async with held.busy:
            if held.status is Status.CREATED:
                await self._namespace.run(lifecycle.unmake, held.directory, held.record)
        await self._end(held)
        async with held.busy:
            if self._held.get(id) is not held:
                return
            programs = self._programs[held.record.runtime]
            await self._namespace.run(lifecycle.demolish, programs, held.directory, id, held.cgroup)
            del self._held[id]
            if self._ranges:
                self._ranges.take_back(id)

    # What follows is asked for by people now and then: an idle daemon has none of it in memory.

    async def exec(self, id: str, spec: ExecSpec) -> ExecSession:
        from hivemind.drivers.runtimes.oci.exec import launch

        held = self._find(id)
        held.must_run("run a command inside")
        session = await self._namespace.run(
            launch,
            self._programs[held.record.runtime],
            self._run / "exec",
            held.record.spec,
            held.record.pid,
            held.cgroup,
            spec,
            held.record.users,
        )
        session.attach()
        return session

    async def attach(self, id: str) -> ExecSession:
        from hivemind.drivers.runtimes.oci.attach import attach

        held = self._find(id)
        held.must_live("attach to it")
        return attach(held, lambda: self.wait(id))

    async def processes(self, id: str) -> list[ProcessInfo]:
        from hivemind.drivers.runtimes.oci import inside

        held = self._find(id)
        held.must_run("list its processes")
        return await asyncio.to_thread(inside.processes_of, held)

    async def changes(self, id: str) -> list[FileChange]:
        from hivemind.drivers.runtimes.oci.changes import changes

        held = self._find(id)
        return await asyncio.to_thread(changes, held.directory, self._images.layers(held.record.spec.image))

    async def read_files(self, id: str, path: str) -> AsyncIterator[bytes]:
        from hivemind.drivers.runtimes.oci import inside

        held = self._find(id)
        files = inside.read_files(held, path) if held.exit is None else await self._read_remains(held, path)
        async for chunk in files:
            yield chunk

    async def write_files(self, id: str, path: str, chunks: AsyncIterator[bytes]) -> None:
        from hivemind.drivers.runtimes.oci import inside

        await inside.write_files(self._find(id), path, chunks)

    async def _read_remains(self, held: Held, path: str) -> AsyncIterator[bytes]:
        from hivemind.drivers.runtimes.files import read_tar
        from hivemind.drivers.runtimes.oci import remains

        spec, users = held.record.spec, held.record.users
        remains.check_path(spec, path)
        async with held.busy:
            if self._held.get(held.id) is not held:
                raise NotFound(f"there is no container {held.id} here")
            layers = self._images.layers(spec.image)
            root = await self._namespace.run(remains.open_root, held.directory, layers, users)
        try:
            return read_tar(root, path, remains.owners(users))
        finally:
            os.close(root)

    async def logs(self, id: str, query: LogQuery) -> AsyncIterator[LogLine]:
        held = self._find(id)
        async for line in read_log(held.directory.log, query, held.ended.wait):
            # A terminal ends its lines with a carriage return, too.
            yield LogLine(line.time, line.stream, line.text.rstrip("\r")) if held.record.spec.tty else line

    async def keep_log(self, id: str, file: Path) -> None:
        held = self._find(id)
        if held.exit is None and held.status is not Status.CREATED:
            raise Conflict(f"container {id} runs, and its log with it", hint="stop it first")
        if self._rotation is not None:
            self._rotation.drop(id)
        kept_log.move(held.directory.log, file)

    async def stats(self, id: str) -> Stats:
        held = self._find(id)
        held.must_run("measure it")
        try:
            usage = held.cgroup.usage()
            received, sent = network_bytes(held.record.pid) if held.record.spec.netns else (0, 0)
        except OSError as error:
            raise Conflict(f"container {id} is just ending") from error
        return Stats(**usage._asdict(), net_rx=received, net_tx=sent)

    async def list(self) -> list[Container]:
        return [held.describe() for held in self._held.values()]

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            event = await self._events.get()
            if event.kind == "exited":
                Directory(self._state, event.id).told.unlink(missing_ok=True)
            yield event

    async def _let_go(self) -> None:
        if self._rotation is not None:
            self._rotation.close()
            self._rotation = None
        while self._tasks:
            await asyncio.gather(*self._tasks)
        loop = asyncio.get_running_loop()
        for held in self._held.values():
            if held.monitor_fd >= 0:
                loop.remove_reader(held.monitor_fd)
            held.release()
        self._held.clear()

    async def _create(self, spec: ContainerSpec) -> None:
        record = Record(
            spec=spec, boot=boot_id(), runtime=self._chosen.name, created=time.time_ns() // 1_000_000
        )
        try:
            if self._ranges and rights.in_own_users(spec):
                own = msgspec.structs.replace(record, users=self._ranges.give(spec.id))
                try:
                    await self._make(own)
                    return
                except Unmappable as error:
                    _log.warning("container %s has the users of this machine: %s", spec.id, error)
                    self._ranges.take_back(spec.id)
            await self._make(record)
        finally:
            self._making.discard(spec.id)
            if self._ranges and spec.id not in self._held:
                self._ranges.take_back(spec.id)

    async def _make(self, record: Record) -> None:
        """Raises `Unmappable` when something of it cannot be seen through the id map it shall have."""
        spec = record.spec
        directory = Directory(self._state, spec.id, self._stage, self._private)
        cgroup = Cgroup(f"{self._slice}/{spec.id}")
        layers = self._images.layers(spec.image)
        # Directories may lie on a file system that takes its time; a namespace's file does not.
        with await asyncio.to_thread(Borrowed, spec) if spec.mounts else Borrowed(spec) as borrowed:
            try:
                record = await self._namespace.run(
                    lifecycle.build, self._chosen, directory, record, layers, f"/{cgroup.path}", borrowed
                )
            except BaseException:
                await self._namespace.run(lifecycle.demolish, self._chosen, directory, spec.id, cgroup)
                raise
        held = self._held[spec.id] = Held(record, directory, cgroup)
        self._watch(held)

    async def _adopt(self, id: str) -> None:
        directory = Directory(self._state, id, self._stage, self._private)
        record = directory.load()
        cgroup = Cgroup(f"{self._slice}/{id}")
        if record is None or not record.pid:
            await self._namespace.run(lifecycle.demolish, self._chosen, directory, id, cgroup)
            return
        held = self._held[id] = Held(record, directory, cgroup)
        if record.users and self._ranges:
            self._ranges.keep(id, record.users)
        if not record.started and not lifecycle.is_waiting(self._programs[record.runtime], id, record.pid):
            held.record = msgspec.structs.replace(record, started=record.created)
        self._watch(held)

    def _watch(self, held: Held) -> None:
        if held.grasp():
            asyncio.get_running_loop().add_reader(held.monitor_fd, self._on_end, held)
            assert self._rotation is not None, "not open"
            self._rotation.add(held.directory, held.record.spec)
            if held.record.spec.memory:
                held.watch_memory(lambda: self._events.put_nowait(RuntimeEvent(kind="oom", id=held.id)))
        else:
            self._spawn(self._finish(held))

    def _on_end(self, held: Held) -> None:
        asyncio.get_running_loop().remove_reader(held.monitor_fd)
        if self._rotation is not None:
            self._rotation.drop(held.id)
        self._spawn(self._finish(held))

    async def _finish(self, held: Held) -> None:
        programs = self._programs[held.record.runtime]
        async with held.busy:
            held.exit = await self._namespace.run(lifecycle.settle, held.directory, held.record, held.cgroup)
            held.release()
            held.ended.set()
            if held.directory.told.exists():
                self._events.put_nowait(RuntimeEvent(kind="exited", id=held.id, exit=held.exit))
            try:
                await self._namespace.run(lifecycle.free, programs, held.directory, held.id, held.cgroup)
            except (HivemindError, OSError) as error:  # `remove` does it again
                _log.warning("container %s ended but could not be taken down: %s", held.id, error)

    async def _end(self, held: Held) -> Exit:
        """SIGKILL if it still lives. Its init takes everything in its process namespace along."""
        held.signal(signals.SIGKILL)
        await held.ended.wait()
        assert held.exit is not None
        return held.exit

    def _find(self, id: str) -> Held:
        if held := self._held.get(id):
            return held
        raise NotFound(f"there is no container {id} here")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
