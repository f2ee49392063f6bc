"""Containers of a containerd that this machine has, through its native API: nothing is run by us, not even its shim.

What survives what: containers live in containerd's shims, whatever becomes of this process or of containerd. That
one ended is heard from the kernel (a descriptor of its process), also while containerd is down; with what code is
asked of containerd, however long it takes to come back. What the node itself knows is in files (`record`).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import shutil
import signal as signals
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from hivemind.drivers.runtimes import kept_log
from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.containerd import messages, oci_spec, rootfs
from hivemind.drivers.runtimes.containerd.api import Api
from hivemind.drivers.runtimes.containerd.attach import Attached
from hivemind.drivers.runtimes.containerd.building import Building
from hivemind.drivers.runtimes.containerd.channel import Channel
from hivemind.drivers.runtimes.containerd.container import Held, spool_of
from hivemind.drivers.runtimes.containerd.exec import Command
from hivemind.drivers.runtimes.containerd.explain import explain
from hivemind.drivers.runtimes.containerd.images import Images, Library
from hivemind.drivers.runtimes.containerd.inside import processes_of, root_of
from hivemind.drivers.runtimes.containerd.protobuf import Value
from hivemind.drivers.runtimes.containerd.pumps import Pumps
from hivemind.drivers.runtimes.containerd.record import Directory, Record, boot_id
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
from hivemind.drivers.runtimes.files import read_tar, write_tar
from hivemind.drivers.runtimes.logs import read_log
from hivemind.drivers.runtimes.oci import users
from hivemind.drivers.runtimes.oci.borrowed import network_bytes
from hivemind.drivers.runtimes.oci.changes import compare
from hivemind.drivers.runtimes.signals import signal_number
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound, Unavailable, Unsupported
from hivemind.model.image import Image

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_RETRY = 0.5
"""Seconds between two tries to reach a containerd that is away."""
_log = logging.getLogger(__name__)


class ContainerdRuntime:
    name = "containerd"

    def __init__(
        self,
        state_dir: Path,
        run_dir: Path,
        images: Images,
        *,
        address: str = "/run/containerd/containerd.sock",
        namespace: str = "hivemind",
        snapshotter: str = "overlayfs",
        patience: float = 10.0,
    ) -> None:
        """`state_dir` outlives restarts of the machine, `run_dir` need not. Several nodes may share a namespace.
        `patience`: seconds that a call waits for a containerd that is being restarted."""
        self._state = state_dir.absolute()
        self._run = run_dir.absolute()
        self._images = images
        self._address = address
        self._namespace = namespace
        self._snapshotter = snapshotter
        self._patience = patience
        digest = hashlib.sha256(os.fsencode(self._state)).hexdigest()
        self._owner, self._slice = f"hm{digest[:8]}", f"hivemind-{digest[:12]}"
        self._api: Api
        self._library: Library
        self._building: Building
        self._pumps: Pumps
        self._open_files = 0
        self._held: dict[str, Held] = {}
        self._making: set[str] = set()
        self._clearing: set[str] = set()
        """Failed while containerd went away, which is still to take back what it has of them."""
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def trouble(self) -> str:
        if self._api.channel.connected:
            return ""
        return (
            f"containerd does not answer at {self._address}: containers go on, but none is started or stopped"
        )

    async def open(self) -> None:
        for made in (self._state / "containers", self._run):
            made.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._api = Api(Channel(self._address, patience=self._patience), self._namespace)
        self._pumps = Pumps()
        try:
            self._open_files = await self._probe()
            self._library = Library(self._api, self._images, self._snapshotter, self._owner)
            self._building = Building(
                self._api, self._library, run=self._run, namespace=self._namespace,
                snapshotter=self._snapshotter, owner=self._owner, slice=self._slice, open_files=self._open_files,
            )  # fmt: skip
            await self._check_snapshots()
            tasks = {task["id"]: task for task in await self._all_tasks()}
            found = [path.name for path in (self._state / "containers").iterdir()]
            await asyncio.gather(*(self._adopt(id, tasks.get(self._building.name_of(id))) for id in found))
            await self._library.sweep()
        except BaseException:
            await self.close()
            raise
        self._images.on_removal.append(self._on_removal)
        self._spawn(self._hear_of_memory())

    async def close(self) -> None:
        """What is being made or waited for is let go of: the next `open` finds how far it came."""
        if self._on_removal in self._images.on_removal:
            self._images.on_removal.remove(self._on_removal)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pumps.close()
        for held in self._held.values():
            held.release()
        self._held.clear()
        self._api.channel.close()

    async def destroy(self) -> None:
        """Kills and removes every container, then every other trace of this node in containerd and on the machine."""
        await asyncio.gather(*(self.remove(id) for id in list(self._held)))
        await self._library.destroy()
        try:
            await self._api.call("namespaces.v1.Namespaces/Delete", name=self._namespace)
        except (Conflict, NotFound):  # another node is in it, or it went with one
            pass
        await self.close()
        Cgroup(self._slice).remove()
        shutil.rmtree(self._run, ignore_errors=True)

    async def pull(
        self, reference: str, on_progress: OnProgress | None = None, *, policy: PullPolicy = "missing"
    ) -> Image:
        image = await self._images.pull(reference, on_progress, policy=policy, unpack=False)
        await self._library.chain(image.digest)
        return image

    async def create(self, spec: ContainerSpec) -> None:
        if not _ID.fullmatch(spec.id):
            raise Invalid(
                f"{spec.id!r} is not a container id", hint="letters, digits, dots and dashes, at most 100"
            )
        if spec.id in self._held or spec.id in self._making:
            raise Conflict(f"container {spec.id} exists already")
        if spec.id in self._clearing:
            raise Unavailable(f"what an earlier try left of container {spec.id} is still being cleared away")
        self._making.add(spec.id)
        await asyncio.shield(self._spawn(self._create(spec)))

    async def start(self, id: str) -> int:
        held = self._find(id)
        async with held.busy:
            if held.status is not Status.CREATED:
                raise Conflict(f"container {id} was started already", hint="create a new one")
            began = _now()  # a short one may have ended before the call has
            try:
                await self._api.call("tasks.v1.Tasks/Start", container_id=held.name)
            except HivemindError as error:
                raise explain(error) from error
            held.record = replace(held.record, started=began)
            await asyncio.to_thread(held.directory.save_started, held.record.started)
        return held.record.pid

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
        async with held.busy:
            if held.status is Status.CREATED:
                await asyncio.to_thread(held.directory.unmake)
        await self._end(held)
        async with held.busy:
            if self._held.get(id) is held:
                await self._building.demolish(held.directory, id)
                held.release()
                del self._held[id]

    async def exec(self, id: str, spec: ExecSpec) -> ExecSession:
        held = self._find(id)
        held.must_run("run a command inside")
        with root_of(held) as root:
            account = users.find_account(root, spec.user or held.record.spec.user)
        process = oci_spec.exec_process(await self._with_secrets(held), spec, account, self._open_files)
        files = self._run / "exec" / id / os.urandom(8).hex()
        command = Command(self._api, held.name, files, spec, held.cgroup)
        await command.run(process, self._spawn)
        return command

    async def attach(self, id: str) -> ExecSession:
        held = self._find(id)
        held.must_live("attach to it")
        return Attached(self._api, held)

    async def processes(self, id: str) -> list[ProcessInfo]:
        held = self._find(id)
        held.must_run("list its processes")
        return await asyncio.to_thread(processes_of, held)

    async def changes(self, id: str) -> list[FileChange]:
        held = self._find(id)
        mounts = await self._building.mounts(held.name)
        layers = rootfs.layers_of(mounts)
        if layers.upper is None:
            raise Unsupported("an image without layers has nothing to compare with")
        record = await self._api.call("containers.v1.Containers/Get", id=held.name)
        configuration = msgspec.json.decode(record["container"]["spec"]["value"])
        places = frozenset(os.path.normpath(mount["destination"]) for mount in configuration["mounts"])
        return await asyncio.to_thread(compare, layers.upper, layers.lower, places)

    async def read_files(self, id: str, path: str) -> AsyncIterator[bytes]:
        with root_of(self._find(id)) as root:
            stream = read_tar(root, path)
        async for chunk in stream:
            yield chunk

    async def write_files(self, id: str, path: str, chunks: AsyncIterator[bytes]) -> None:
        with root_of(self._find(id)) as root:
            await write_tar(root, path, chunks)

    async def logs(self, id: str, query: LogQuery) -> AsyncIterator[LogLine]:
        held = self._find(id)
        async for line in read_log(held.spool.log, query, held.ended.wait):
            # A terminal ends its lines with a carriage return, too.
            yield LogLine(line.time, line.stream, line.text.rstrip("\r")) if held.record.spec.tty else line

    async def keep_log(self, id: str, file: Path) -> None:
        held = self._find(id)
        if held.status is Status.RUNNING:
            raise Conflict(f"container {id} runs, and its log with it", hint="stop it first")
        kept_log.move(held.spool.log, file)

    async def stats(self, id: str) -> Stats:
        """From the control group itself: a hundredth of what asking containerd costs."""
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
                Directory(self._state, event.id).untold.unlink(missing_ok=True)
            yield event

    # -- making and taking down ------------------------------------------------------------------------------

    async def _create(self, spec: ContainerSpec) -> None:
        directory = Directory(self._state, spec.id)
        record = Record(
            spec=replace(spec, secret_env={}),
            secrets=tuple(spec.secret_env),
            boot=boot_id(),
            created=_now(),
        )
        try:
            await asyncio.to_thread(_make_files, directory, record)
            try:
                record = replace(record, pid=await self._building.build(spec, directory))
                await asyncio.to_thread(directory.save_pid, record.pid)
            except BaseException as error:
                await self._clear_away(directory, spec.id)
                if isinstance(error, HivemindError):
                    raise explain(error) from error
                raise
            held = Held(record, directory, self._building.cgroup_of(spec.id), self._building.name_of(spec.id))
            held.secret_env = spec.secret_env
            self._held[spec.id] = held
            self._watch(held)
        finally:
            self._making.discard(spec.id)

    async def _clear_away(self, directory: Directory, id: str) -> None:
        """After a failure: at once, or as soon as containerd can be reached again."""
        try:
            await self._building.demolish(directory, id)
        except Unavailable:
            self._clearing.add(id)
            self._spawn(self._clear_away_later(directory, id))

    async def _clear_away_later(self, directory: Directory, id: str) -> None:
        try:
            await self._insist(lambda: self._building.demolish(directory, id))
        finally:
            self._clearing.discard(id)

    # -- endings ---------------------------------------------------------------------------------------------

    async def _adopt(self, id: str, task: dict[str, Any] | None) -> None:
        directory = Directory(self._state, id)
        record = directory.load()
        if record is None or not record.pid:
            await self._building.demolish(directory, id)
            return
        held = self._held[id] = Held(
            record, directory, self._building.cgroup_of(id), self._building.name_of(id)
        )
        if not record.started and (task is None or task["status"] != messages.CREATED):
            held.record = replace(record, started=record.created)
        await self._building.end_commands(held.id)
        if task is None or task["status"] == messages.STOPPED:
            self._spawn(self._finish(held))
        else:
            self._watch(held)

    def _watch(self, held: Held) -> None:
        if held.grasp():
            asyncio.get_running_loop().add_reader(held.pidfd, self._on_end, held)
            self._pumps.add(held.id, held.spool)
        else:
            self._spawn(self._finish(held))

    def _on_end(self, held: Held) -> None:
        asyncio.get_running_loop().remove_reader(held.pidfd)
        self._spawn(self._finish(held))

    async def _finish(self, held: Held) -> None:
        """The exit is written down before containerd forgets it; it is told once the whole output is in the log."""
        async with held.busy:
            ending = held.directory.load_exit() or await self._ending(held)
            try:
                held.directory.save_exit(ending)
            except OSError as error:  # a full disk must not keep anyone waiting
                _log.error("the exit of %s could not be written down: %s", held.id, error)
            await self._insist(lambda: self._building.gone("tasks.v1.Tasks/Delete", container_id=held.name))
            self._pumps.drop(held.id)
            try:
                await asyncio.to_thread(held.spool.drain)
            except OSError as error:
                _log.error("the last output of %s is not in its log: %s", held.id, error)
            held.release()
            held.exit = ending
            held.ended.set()
            held.spool.tell()
            if held.directory.untold.exists():
                self._events.put_nowait(RuntimeEvent(kind="exited", id=held.id, exit=ending))

    async def _ending(self, held: Held) -> Exit:
        """As containerd tells it, through restarts of it: its shim keeps the code."""
        while True:
            try:
                ended = await self._api.call("tasks.v1.Tasks/Wait", container_id=held.name, patient=True)
            except NotFound:
                return held.directory.load_exit() or self._unknown(held)
            except Unavailable as error:
                _log.warning("container %s ended; containerd cannot say how yet: %s", held.id, error)
                await asyncio.sleep(_RETRY)
                continue
            code = ended["exit_status"]
            oom = code == 128 + signals.SIGKILL and held.cgroup.oom_kills() > 0
            at = ended["exited_at"]["seconds"] * 1000 + ended["exited_at"]["nanos"] // 1_000_000
            return Exit(code=code, oom=oom, at=at or _now(), reason="out of memory" if oom else "")

    def _unknown(self, held: Held) -> Exit:
        restarted = held.record.boot != boot_id()
        held.cgroup.kill()
        reason = "the machine was restarted" if restarted else "containerd does not know how it ended"
        return Exit(code=None, at=_now(), reason=reason)

    async def _end(self, held: Held) -> Exit:
        """SIGKILL if it still lives. Its init takes everything in its process namespace along."""
        if held.exit is None:
            await self._signal(held, signals.SIGKILL)
        await held.ended.wait()
        assert held.exit is not None
        return held.exit

    async def _signal(self, held: Held, number: int) -> None:
        if held.exit is None:
            await self._building.gone("tasks.v1.Tasks/Kill", container_id=held.name, signal=int(number))

    async def _hear_of_memory(self) -> None:
        """Processes that the kernel kills at a container's limit. While containerd is away nobody hears of them; one
        that ends its container is known from its control group."""

        async def request() -> AsyncIterator[dict[str, Any]]:
            yield {"filters": [f'topic=="/tasks/oom",namespace=={self._namespace}']}

        while True:
            try:
                async for event in self._api.exchange("events.v1.Events/Subscribe", request()):
                    name = messages.TASK_OOM.decode(event["event"]["value"])["container_id"]
                    for held in self._held.values():
                        if held.name == name:
                            self._events.put_nowait(RuntimeEvent(kind="oom", id=held.id))
            except HivemindError as error:
                _log.debug("containerd's events broke off: %s", error)
            await asyncio.sleep(_RETRY)

    def _on_removal(self) -> None:
        self._spawn(self._insist(self._library.drop_removed))

    # -- small things ----------------------------------------------------------------------------------------

    async def _probe(self) -> int:
        """The hard limit of open files that containerd has, and passes on."""
        server = await self._api.channel.peer()
        if not server:
            raise Unsupported(
                f"containerd at {self._address} runs in another process namespace",
                hint="run the daemon on the machine itself, beside containerd",
            )
        try:
            await self._api.call("namespaces.v1.Namespaces/Create", namespace={"name": self._namespace})
        except Conflict:
            pass
        return oci_spec.open_files_of(server)

    async def _check_snapshots(self) -> None:
        try:
            await self._building.mounts("none")
        except NotFound:
            return
        except HivemindError as error:
            raise Unsupported(
                f"containerd cannot hold containers here: {error.message}",
                hint=f"its {self._snapshotter} plugin must work: see ctr plugins ls",
            ) from error

    async def _all_tasks(self) -> Sequence[Value]:
        return (await self._api.call("tasks.v1.Tasks/List"))["tasks"]  # type: ignore[no-any-return]

    async def _with_secrets(self, held: Held) -> ContainerSpec:
        """After a restart of the daemon only containerd knows them."""
        if held.secret_env is None and held.record.secrets:
            record = await self._api.call("containers.v1.Containers/Get", id=held.name)
            lines = msgspec.json.decode(record["container"]["spec"]["value"])["process"]["env"]
            known = dict(line.partition("=")[::2] for line in lines)
            held.secret_env = {name: known[name] for name in held.record.secrets if name in known}
        return replace(held.record.spec, secret_env=held.secret_env or {})

    async def _insist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Until containerd can be reached."""
        while True:
            try:
                return await work()
            except Unavailable as error:
                _log.warning("waiting for containerd: %s", error)
                await asyncio.sleep(_RETRY)

    def _find(self, id: str) -> Held:
        if held := self._held.get(id):
            return held
        raise NotFound(f"there is no container {id} here")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _make_files(directory: Directory, record: Record) -> None:
    directory.make(record)
    spool_of(record, directory).make()


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
