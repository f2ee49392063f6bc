"""Containers by the docker engine that a machine has already.

The engine keeps containers, exit codes and logs, so they outlive this process as they outlive docker's own command
line; a label says which are ours. Ours are only small files for each container (`/etc/hosts`, `/etc/resolv.conf`, and
whether its end was told). What happens arrives by the engine's events. When the engine goes away it is looked for
until it is back: with its `live-restore` containers go on meanwhile, otherwise they have ended with it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

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
    RuntimeEvent,
    Stats,
    Status,
)
from hivemind.drivers.runtimes.docker import configuration, inside, session
from hivemind.drivers.runtimes.docker.accounts import find_user
from hivemind.drivers.runtimes.docker.container import Held, Inspected, filters
from hivemind.drivers.runtimes.docker.engine import Engine
from hivemind.drivers.runtimes.docker.images import LoadedImages, Store
from hivemind.drivers.runtimes.docker.logs import read_log
from hivemind.drivers.runtimes.docker.sharing import HOLDS, Holders, allocation_of
from hivemind.drivers.runtimes.docker.watching import Event, watch
from hivemind.drivers.runtimes.files import read_tar, write_tar
from hivemind.drivers.runtimes.secrets import give_files
from hivemind.drivers.runtimes.signals import signal_number
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound, Unavailable
from hivemind.model.image import Image

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_AT_ONCE = 8
"""So many containers are asked for at the same time."""
_LINGER = 60.0
"""Seconds that an image without containers stays in the engine, for the next start."""
_PATIENCE = 10.0
_KEPT_SIZE, _KEPT_FILES = 16 * 2**20, 3
"""Of a kept log: bytes of a file, and how many files."""
_KINDS: dict[int, Literal["added", "changed", "deleted"]] = {0: "changed", 1: "added", 2: "deleted"}
_log = logging.getLogger(__name__)


class _Listed(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    state: str = ""
    labels: dict[str, str] | None = None


class _Change(msgspec.Struct, frozen=True, rename="pascal"):
    path: str
    kind: int


class DockerRuntime:
    name = "docker"

    def __init__(self, socket: str, owner: str, state_dir: Path, images: Store) -> None:
        """`owner` tells this node's containers from all others of the engine: some letters and digits."""
        self._engine = Engine(socket)
        self._owner = owner
        self._containers = state_dir.absolute() / "containers"
        self._store = images
        self._images = LoadedImages(self._engine, images, owner)
        self._holders = Holders(self._engine, owner, state_dir.absolute() / "holder")
        self._held: dict[str, Held] = {}
        self._making: set[str] = set()
        self._commands: dict[str, tuple[Held, asyncio.Future[int]]] = {}
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self.trouble = ""

    # -- life -----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        self._containers.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._engine.greet()
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watching = asyncio.ensure_future(
            watch(self._engine, self._owner, self._learn, self._hear, self._lost, first)
        )
        try:
            await first
        except BaseException:
            await self.close()
            raise
        for directory in self._containers.iterdir():
            if directory.name not in self._held:
                shutil.rmtree(directory, ignore_errors=True)
        self._sweep_later()

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
            self._watching = None
        while self._tasks:
            await asyncio.wait(self._tasks)
        for held in self._held.values():
            held.release()
        self._held.clear()

    async def destroy(self) -> None:
        """Removes every container and image of ours from the engine, and our own files."""
        await asyncio.gather(*(self.remove(id) for id in list(self._held)))
        await self._images.sweep(())
        await self.close()
        shutil.rmtree(self._containers.parent, ignore_errors=True)

    async def pull(
        self, reference: str, on_progress: OnProgress | None = None, *, policy: PullPolicy = "missing"
    ) -> Image:
        return await self._store.pull(reference, on_progress, policy=policy, unpack=False)

    # -- one container --------------------------------------------------------------------------------------

    async def create(self, spec: ContainerSpec) -> None:
        if not _ID.fullmatch(spec.id):
            raise Invalid(
                f"{spec.id!r} is not a container id", hint="letters, digits, dots and dashes, at most 100"
            )
        if spec.id in self._held or spec.id in self._making:
            raise Conflict(f"container {spec.id} exists already")
        self._making.add(spec.id)
        await asyncio.shield(self._spawn(self._create(spec)))

    async def start(self, id: str) -> int:
        held = self._find(id)
        async with held.busy:
            if held.status is not Status.CREATED:
                raise Conflict(f"container {id} was started already", hint="create a new one")
            try:
                await self._call(held, "POST", "/start")
            except NotFound as error:
                raise Invalid(error.message) from None  # of what it needs: another container's network
            self._update(held, await self._inspect(held.engine_id))
        return held.pid

    async def stop(self, id: str, signal: str, grace: float) -> Exit:
        held = self._held.get(id)
        if held is None:
            return Exit(code=None, reason="it is gone")
        if held.status is Status.RUNNING and grace > 0:
            await self._signal(held, signal_number(signal))
            try:
                async with asyncio.timeout(grace):
                    await held.ended.wait()
            except TimeoutError:
                pass
        return await self._end(held)

    async def kill(self, id: str, signal: str) -> None:
        number = signal_number(signal)
        if held := self._held.get(id):
            await self._signal(held, number)

    async def wait(self, id: str) -> Exit:
        held = self._find(id)
        await held.ended.wait()
        assert held.exit is not None
        return held.exit

    async def remove(self, id: str) -> None:
        held = self._held.get(id)
        if held is None:
            return
        if held.status is Status.RUNNING:
            await self._end(held)
        async with held.busy:
            if self._held.get(id) is not held:
                return
            await self._delete(held.engine_id)
            shutil.rmtree(self._containers / id, ignore_errors=True)
            held.release()
            del self._held[id]
        if held.joined:
            await self._release(id)
        self._sweep_later()

    async def exec(self, id: str, spec: ExecSpec) -> ExecSession:
        held = self._find(id)
        held.must_run("run a command inside")
        return await session.begin(self._engine, held, spec, self._commands)

    async def attach(self, id: str) -> ExecSession:
        held = self._find(id)
        if held.status is Status.EXITED:
            held.must_run("attach to it")
        return await session.attach(self._engine, held)

    async def processes(self, id: str) -> list[ProcessInfo]:
        held = self._find(id)
        held.must_run("list its processes")
        return await asyncio.to_thread(inside.processes_of, held)

    async def changes(self, id: str) -> list[FileChange]:
        found = await self._call(self._find(id), "GET", "/changes", type=tuple[_Change, ...] | None)
        return sorted(
            (FileChange(_KINDS[c.kind], c.path) for c in found or ()), key=lambda change: change.path
        )

    async def read_files(self, id: str, path: str) -> AsyncIterator[bytes]:
        held = self._find(id)
        if held.status is Status.EXITED:  # what it left is in the engine's hands
            archive = f"/containers/{held.engine_id}/archive"
            async with self._engine.stream("GET", archive, query={"path": path}) as response:
                async for chunk in response.chunks():
                    yield chunk
            return
        held.must_run("copy its files")
        with inside.root_of(held) as (root, owners):
            tar = read_tar(root, path, owners)
        async for chunk in tar:
            yield chunk

    async def write_files(self, id: str, path: str, chunks: AsyncIterator[bytes]) -> None:
        held = self._find(id)
        held.must_run("copy files into it")
        with inside.root_of(held) as (root, owners):
            await write_tar(root, path, chunks, owners)

    async def logs(self, id: str, query: LogQuery) -> AsyncIterator[LogLine]:
        async for line in read_log(self._engine, self._find(id), query):
            yield line

    async def keep_log(self, id: str, file: Path) -> None:
        held = self._find(id)
        if held.status is Status.RUNNING:
            raise Conflict(f"container {id} runs, and its log with it", hint="stop it first")
        await kept_log.write(self.logs(id, LogQuery()), file, _KEPT_SIZE, _KEPT_FILES)

    async def stats(self, id: str) -> Stats:
        held = self._find(id)
        held.must_run("measure it")
        return inside.usage(held)

    async def list(self) -> list[Container]:
        return [held.describe() for held in self._held.values()]

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            event = await self._events.get()
            if event.kind == "exited":
                with suppress(FileNotFoundError):  # it was removed meanwhile
                    self._told(event.id).touch()
            yield event

    # -- making ---------------------------------------------------------------------------------------------

    async def _create(self, spec: ContainerSpec) -> None:
        directory = self._containers / spec.id
        try:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(mode=0o700)
            configuration.write_files(spec, directory)
            try:
                engine_id = await self._make(spec, directory)
            except NotFound:  # its image was removed from the engine, by somebody or just now by ourselves
                self._images.forget(spec.image)
                engine_id = await self._make(spec, directory)
            try:
                account = await find_user(self._engine, engine_id, spec.user)
                await asyncio.to_thread(give_files, spec, account.uid, account.gid)
                told = await self._inspect(engine_id)
            except BaseException:
                await self._delete(engine_id)
                raise
            self._held[spec.id] = Held(told)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            self._making.discard(spec.id)
            if spec.network_shared:
                await self._release(spec.id)
            raise
        self._making.discard(spec.id)

    async def _release(self, id: str) -> None:
        """The network that containers of an allocation shared goes with the last of them."""
        allocation = allocation_of(id)
        if not any(allocation_of(other) == allocation for other in (*self._held, *self._making)):
            await self._holders.release(allocation)

    async def _make(self, spec: ContainerSpec, directory: Path) -> str:
        image = await self._images.ensure(spec.image)
        joined = ""
        if spec.network_shared or self._joined(spec.id):
            joined = await self._holders.join(spec, image)
        body = configuration.body(spec, image, self._owner, directory, joined)
        name = f"hivemind-{self._owner}-{spec.id}"
        try:
            made = await self._engine.call("POST", "/containers/create", body, query={"name": name})
        except Conflict:  # an earlier daemon died while the engine made it
            await self._delete(name)
            made = await self._engine.call("POST", "/containers/create", body, query={"name": name})
        return str(made["Id"])

    def _joined(self, id: str) -> bool:
        """Whether others of its allocation share a network already."""
        allocation = allocation_of(id)
        return any(held.joined and allocation_of(held.id) == allocation for held in self._held.values())

    # -- ending ---------------------------------------------------------------------------------------------

    async def _signal(self, held: Held, number: int) -> None:
        if held.status is Status.RUNNING:
            with suppress(NotFound, Conflict):  # it has just ended
                await self._call(held, "POST", "/kill", query={"signal": number})

    async def _end(self, held: Held) -> Exit:
        """SIGKILL if it still lives. Its process 1 takes everything in its process namespace along."""
        if held.status is Status.CREATED:
            return Exit(code=None, reason="it was never started")
        await self._signal(held, 9)
        await held.ended.wait()
        assert held.exit is not None
        return held.exit

    async def _delete(self, engine_id: str) -> None:
        """With the volumes that the engine made for it. Returns once it is gone."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                await self._engine.call("DELETE", f"/containers/{engine_id}", query={"force": 1, "v": 1})
                return
            except NotFound:
                return
            except Conflict as error:  # it is being removed by somebody else already
                if time.monotonic() > deadline:
                    raise Unavailable(error.message, hint="look at the engine's own log") from error
                await asyncio.sleep(0.05)

    # -- what the engine tells ------------------------------------------------------------------------------

    async def _learn(self) -> None:
        """Everything that is ours as the engine has it now: what is new, what ended, what somebody took away."""
        wanted = filters(label=f"{configuration.OWNER}={self._owner}")
        listed = await self._engine.call(
            "GET", "/containers/json", type=tuple[_Listed, ...], query={"all": 1, "filters": wanted}
        )
        labelled = [(each, each.labels or {}) for each in listed]
        there = {labels[configuration.ID]: each for each, labels in labelled if configuration.ID in labels}
        for holder in [labels[HOLDS] for _, labels in labelled if HOLDS in labels]:
            if not any(allocation_of(id) == holder for id in (*there, *self._making)):
                await self._holders.release(holder)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(id: str, engine_id: str) -> None:
            async with gate:
                with suppress(NotFound):
                    told = await self._inspect(engine_id)
                    if id in self._held:
                        self._update(self._held[id], told)
                    elif id not in self._making:
                        held = self._held[id] = Held(told)
                        if held.status is Status.EXITED:
                            self._tell(held)

        settled = {id for id, held in self._held.items() if held.status is Status.EXITED}
        await asyncio.gather(*(one(id, each.id) for id, each in there.items() if id not in settled))
        for held in list(self._held.values()):
            if held.id not in there:
                self._vanished(held)
        for id, (held, exit) in list(self._commands.items()):
            await session.settle(self._engine, id, exit, held)

    def _lost(self, why: str) -> None:
        self.trouble = why

    def _hear(self, event: Event) -> None:
        if event.action == "exec_die":
            _, exit = self._commands.get(event.attributes.get("execID", ""), (None, None))
            if exit is not None and not exit.done():
                exit.set_result(int(event.attributes.get("exitCode", "137")))
            return
        held = self._held.get(event.attributes.get(configuration.ID, ""))
        if held is None or held.engine_id != event.id:
            return
        match event.action:
            case "die":
                self._spawn(self._ended(held))
            case "oom":
                held.out_of_memory = True
                self._events.put_nowait(RuntimeEvent(kind="oom", id=held.id))
            case "destroy":
                self._vanished(held)
            case "start" if held.status is Status.EXITED:
                _log.warning("container %s was started again by somebody; it is killed", held.id)
                self._spawn(self._kill_again(held))

    async def _ended(self, held: Held) -> None:
        try:
            self._update(held, await self._inspect(held.engine_id))
        except NotFound:
            self._vanished(held)
        except HivemindError as error:
            _log.warning("container %s ended, but how is not known yet: %s", held.id, error.message)

    async def _kill_again(self, held: Held) -> None:
        with suppress(HivemindError):
            await self._call(held, "POST", "/kill", query={"signal": 9})

    def _update(self, held: Held, told: Inspected) -> None:
        ended = held.status is Status.EXITED
        held.learn(told)
        if held.status is Status.EXITED and not ended:
            self._tell(held)

    def _vanished(self, held: Held) -> None:
        """Somebody removed it from the engine."""
        if held.status is not Status.EXITED:
            now = time.time_ns() // 10**6
            held.finish(Exit(code=None, at=now, reason="somebody removed it from the docker engine"))
            self._tell(held)

    def _tell(self, held: Held) -> None:
        for id, (owner, exit) in list(self._commands.items()):
            if owner is held:
                self._spawn(session.settle(self._engine, id, exit, held))
        if not self._told(held.id).exists():
            self._events.put_nowait(RuntimeEvent(kind="exited", id=held.id, exit=held.exit))

    def _told(self, id: str) -> Path:
        return self._containers / id / "told"

    # -- images that nobody needs ---------------------------------------------------------------------------

    def _sweep_later(self) -> None:
        if self._sweeping is None:
            loop = asyncio.get_running_loop()
            self._sweeping = loop.call_later(_LINGER, lambda: self._spawn(self._sweep()))

    async def _sweep(self) -> None:
        self._sweeping = None
        try:
            await self._images.sweep({held.image for held in self._held.values()})
        except HivemindError as error:
            _log.warning("images of docker could not be cleared: %s", error.message)

    # -- asking ---------------------------------------------------------------------------------------------

    async def _inspect(self, engine_id: str) -> Inspected:
        found: Inspected = await self._engine.call("GET", f"/containers/{engine_id}/json", type=Inspected)
        return found

    async def _call(self, held: Held, method: str, path: str, **more: Any) -> Any:
        return await self._engine.call(method, f"/containers/{held.engine_id}{path}", **more)

    def _find(self, id: str) -> Held:
        if held := self._held.get(id):
            return held
        raise NotFound(f"there is no container {id} here")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
