"""The process runtime: commands of the host, each in a session of its own.

There is no isolation: a command sees the host's files, users, resolver and host name; `resolv_conf`, `hosts` and
`hostname` of a specification have no effect. Limits need control groups, so root; without, a specification that
asks for them is refused rather than run without. A command without limits has no control group: its processes are
known by their tag (see `tree`), which costs a hundredth of that.

Commands are children of the shim, not of the daemon. What is on disk (`record`) decides after a restart: a
command with an exit has ended, one that the shim has runs, and anything else was left by a shim that was killed
(it is killed too, its exit code is unknown) or by a boot that is over. Commands that an earlier version of the shim
has run on there until they end (see `earlier`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Set
from pathlib import Path
from typing import Any

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
)
from hivemind.drivers.runtimes.logs import read_log
from hivemind.drivers.runtimes.process import tag
from hivemind.drivers.runtimes.process.cgroup import ControlGroups
from hivemind.drivers.runtimes.process.check import check, identity, refused
from hivemind.drivers.runtimes.process.client import EARLIER, NAME, Died, ShimClient
from hivemind.drivers.runtimes.process.earlier import EarlierRecord, earlier_records
from hivemind.drivers.runtimes.process.held import Held
from hivemind.drivers.runtimes.process.machine import machine, user_name
from hivemind.drivers.runtimes.process.orphans import Orphans, lost
from hivemind.drivers.runtimes.process.record import Birth, Known, Record, Records, Stored, check_id
from hivemind.drivers.runtimes.process.search import DEFAULT_PATH
from hivemind.drivers.runtimes.process.tree import MARK, boot_id, children, descendants, members
from hivemind.drivers.runtimes.process.usage import usage
from hivemind.drivers.runtimes.processes import processes
from hivemind.drivers.runtimes.secrets import check_secrets
from hivemind.drivers.runtimes.signals import signal_number
from hivemind.errors import Conflict, NotFound, Unavailable, Unsupported
from hivemind.model.image import Image

_log = logging.getLogger(__name__)
_DYING = 60.0
"""Seconds that killed processes may take to be gone."""
_LATER = 0.05
"""Seconds until it is recorded that an exit was told: most commands are removed by then, and need no record."""


class ProcessRuntime:
    """`state_dir` keeps records and logs; `run_dir` (a tmpfs, if there is one) the shim's socket."""

    name = "process"
    trouble = ""

    def __init__(self, state_dir: Path, run_dir: Path) -> None:
        self._state_dir, self._run_dir = state_dir.absolute(), run_dir.absolute()
        self._scope = hashlib.sha256(os.fsencode(self._state_dir)).hexdigest()[:12]
        self._records = Records(self._state_dir, self._run_dir)
        self._groups = ControlGroups(f"hivemind-{self._scope}")
        self._shim = ShimClient(self._run_dir, self._heard, self._lost)
        self._earlier = ShimClient(self._run_dir, self._heard, self._lost, EARLIER)
        self._held: dict[str, Held] = {}
        self._untold: deque[RuntimeEvent] = deque()
        self._news = asyncio.Event()
        self._told: list[Held] = []
        self._boot = ""
        self._adopting: asyncio.Task[None] | None = None
        self.why_no_limits = ""
        """Empty, or why this daemon can enforce no limits; also what a person should be told at start."""

    async def open(self) -> None:
        if not sys.platform.startswith("linux"):
            raise Unsupported("the process runtime needs Linux", hint="run the node on a Linux machine")
        self._run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._boot = boot_id()
        self.why_no_limits = self._groups.open()
        for id, (record, known) in self._records.open().items():
            self._take_over(id, record, known, self._shim)
        for id, earlier in earlier_records(self._state_dir / "containers").items():
            self._take_earlier(id, earlier)
        await self._adopt()
        if not self.why_no_limits:
            for stray in self._groups.strays(self._held):
                await asyncio.to_thread(stray.remove)

    def _take_over(self, id: str, record: Record, known: Known, shim: ShimClient) -> None:
        if known.spec is None:
            record.remove()
            return
        group = None if self.why_no_limits else self._groups.find(id)
        held = Held(self._records.with_secrets(known.spec), known.created, record, group, shim)
        held.birth = known.born
        held.begun = held.birth is not None
        self._held[id] = held

    def _take_earlier(self, id: str, earlier: EarlierRecord) -> None:
        known = earlier.known()
        if known.spec is None or id in self._held:  # taken over just before the daemon was killed
            earlier.remove()
        elif known.born is None and known.exit is None:  # it may be started yet
            spec = self._records.with_secrets(known.spec)
            self._take_over(id, self._records.create(Stored(spec, known.created)), known, self._shim)
            earlier.remove()
        else:
            self._take_over(id, earlier, known, self._earlier)

    async def close(self) -> None:
        while (adopting := self._adopting) is not None:  # the line may break meanwhile and begin another
            self._adopting = None
            adopting.cancel()  # whoever opens this next begins it anew
            await asyncio.wait([adopting])
        await self._shim.close()
        await self._earlier.close()
        self._record_told()
        for held in self._held.values():
            if held.cgroup is not None:
                held.cgroup.close()

    async def destroy(self) -> None:
        """Kills every command and removes every trace of this runtime."""
        try:
            if not self._held and not self._shim.connected:
                await self.open()
            for id in list(self._held):
                await self.remove(id)
            for shim in (self._shim, self._earlier):
                if await shim.connect(start=False) is not None:
                    with contextlib.suppress(Unavailable):
                        await shim.request({"do": "quit"})
        finally:
            await self.close()
        if not self.why_no_limits:
            self._groups.remove()
        self._records.destroy()
        for name in (NAME, EARLIER):
            for kind in ("lock", "sock", "log"):
                (self._run_dir / f"{name}.{kind}").unlink(missing_ok=True)

    async def pull(
        self, reference: str, on_progress: OnProgress | None = None, *, policy: PullPolicy = "missing"
    ) -> Image:
        raise Unsupported(
            f"the process runtime has no images, so it cannot pull {reference}",
            hint="give a command instead of an image, or start the daemon with --runtime oci",
        )

    async def create(self, spec: ContainerSpec) -> None:
        check_id(spec.id)
        if spec.id in self._held:
            raise Conflict(f"container {spec.id} exists", hint="remove it first, or use another id")
        check(spec, why_no_limits=self.why_no_limits)
        check_secrets(spec, self._run_dir)
        cgroup = self._grouped(spec) if spec.cpus or spec.memory or spec.pids else None
        stored = Stored(spec, _now())
        try:
            record = self._records.create(stored)
        except BaseException:
            if cgroup is not None:
                cgroup.remove()
            raise
        self._held[spec.id] = Held(spec, stored.created, record, cgroup, self._shim)

    def _grouped(self, spec: ContainerSpec) -> Cgroup:
        return self._groups.create(spec.id, cpus=spec.cpus, memory=spec.memory, pids=spec.pids)

    async def start(self, id: str) -> int:
        held = self._get(id)
        if held.begun or held.exit is not None:
            raise Conflict(f"container {id} was started already", hint="create a new one")
        held.begun = True
        # The shim finishes what it was asked, so this does too, also when whoever asked is cancelled.
        held.starting = asyncio.get_running_loop().create_task(self._start(held))
        return await asyncio.shield(held.starting)

    async def _start(self, held: Held) -> int:
        spec, record = held.spec, held.record
        try:
            await self._adopted()
            if not self._shim.connected:
                await self._shim.connect(start=True)
            if held.cgroup is None and not self._shim.tags and not self.why_no_limits:
                held.cgroup = self._grouped(spec)  # an older kernel, where nothing else knows all processes
            answer = await self._shim.request(
                {
                    "do": "start",
                    "id": spec.id,
                    "order": self._order(
                        held, spec.args, spec.env | spec.secret_env, spec.user, spec.workdir
                    ),
                    "boot": self._boot,
                    "record": record.path,
                    "copy": record.copy,
                    "log": {
                        "path": record.log,
                        "max_size": spec.log_max_size,
                        "max_files": spec.log_max_files,
                    },
                    "oom": str(held.cgroup.memory_file()) if held.cgroup else "",
                }
            )
            if "errno" in answer:
                raise refused(answer, spec.args)
        except Died:
            raise  # it may run, or have run: adoption ends it, and it is never started again
        except BaseException:
            held.begun = record.known().born is not None
            raise
        held.birth = msgspec.convert(answer, Birth)
        return held.birth.pid

    async def stop(self, id: str, signal: str, grace: float) -> Exit:
        number = signal_number(signal)
        held = self._held.get(id)
        if held is None:
            return Exit(code=None, at=_now(), reason="it is not here any more")
        await held.settled()
        if not held.begun and held.exit is None:
            self._end(held, Exit(code=None, at=_now(), reason="stopped before it was started"))
        await self._signal(held, number)
        try:
            async with asyncio.timeout(grace):
                await held.ended.wait()
        except TimeoutError:
            await self._kill(held)
        return await self._exit(held)

    async def kill(self, id: str, signal: str) -> None:
        number = signal_number(signal)
        if (held := self._held.get(id)) is not None:
            await self._signal(held, number)

    async def wait(self, id: str) -> Exit:
        return await self._exit(self._get(id))

    async def remove(self, id: str) -> None:
        held = self._held.get(id)
        if held is None:
            return
        if held.begun:
            await self._kill(held)
        if self._held.pop(id, None) is None:
            return  # another call was faster
        held.ended.set()
        if held.cgroup is not None:
            held.cgroup.remove()
        self._records.forget_secrets(held.spec)
        held.record.remove()

    async def exec(self, id: str, spec: ExecSpec) -> ExecSession:
        from hivemind.drivers.runtimes.process.execution import open_session

        held = self._get(id)
        if not held.running:
            raise Conflict(f"container {id} is not running", hint="see its status and exit code")
        base = held.spec
        env = {**base.env, **base.secret_env, **spec.env}
        order = self._order(held, spec.args, env, spec.user or base.user, spec.workdir or base.workdir)
        return await open_session(held.shim, id, order, spec)

    async def attach(self, id: str) -> ExecSession:
        self._get(id)
        raise Unsupported(
            "a plain command has no input or terminal to attach to",
            hint="follow its output with `hivemind logs -f`, or run a command beside it with `hivemind exec`",
        )

    async def processes(self, id: str) -> list[ProcessInfo]:
        held = self._get(id)
        if held.birth is None or not held.running:
            raise Conflict(f"container {id} is not running", hint="see its status and exit code")
        pids = held.cgroup.processes() if held.cgroup else self._members(held, held.birth)
        return await asyncio.to_thread(processes, pids, user_name)

    def _members(self, held: Held, birth: Birth) -> list[int]:
        """Its processes, without a control group: those below its first, and orphans that carry its tag."""
        if not birth.tag:
            return members([], f"{self._scope}/{held.spec.id}", birth.pid)
        mains = {
            other.birth.pid for other in self._held.values() if other.birth is not None and other.running
        }
        strangers = [pid for pid in children(self._shim.pid) if pid not in mains and tag.of(pid) == birth.tag]
        return [pid for first in (birth.pid, *strangers) for pid in descendants(first)]

    async def changes(self, id: str) -> list[FileChange]:
        self._get(id)
        raise Unsupported(
            "a plain command has no files of its own: it changes those of the machine",
            hint="run it from an image, with --runtime oci",
        )

    async def read_files(self, id: str, path: str) -> AsyncIterator[bytes]:
        from hivemind.drivers.runtimes.files import read_tar

        self._get(id)
        with machine() as root:
            stream = read_tar(root, path)
        async for chunk in stream:
            yield chunk

    async def write_files(self, id: str, path: str, chunks: AsyncIterator[bytes]) -> None:
        from hivemind.drivers.runtimes.files import write_tar

        self._get(id)
        with machine() as root:
            await write_tar(root, path, chunks)

    async def logs(self, id: str, query: LogQuery) -> AsyncIterator[LogLine]:
        held = self._get(id)
        newest = Path(held.record.log)
        if query.follow:  # the directory is watched; the shim makes it with the first output
            newest.parent.mkdir(mode=0o700, exist_ok=True)
        async for line in read_log(newest, query, held.ended.wait):
            yield line

    async def keep_log(self, id: str, file: Path) -> None:
        held = self._get(id)
        if held.running:
            raise Conflict(f"container {id} runs, and its log with it", hint="stop it first")
        kept_log.move(Path(held.record.log), file)

    async def stats(self, id: str) -> Stats:
        held = self._get(id)
        if held.birth is None or not held.running:
            raise NotFound(f"container {id} is not running, so it uses nothing", hint="see its exit code")
        birth = held.birth
        return usage(
            birth.pid, held.cgroup, lambda: self._members(held, birth), own_network=bool(held.spec.netns)
        )

    async def list(self) -> list[Container]:
        return [held.describe() for held in self._held.values()]

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            self._news.clear()
            while self._untold:
                event = self._untold.popleft()
                if event.kind == "exited" and (held := self._held.get(event.id)) is not None:
                    if not self._told:
                        asyncio.get_running_loop().call_later(_LATER, self._record_told)
                    self._told.append(held)
                yield event
            await self._news.wait()

    def _record_told(self) -> None:
        told, self._told = self._told, []
        for held in told:
            if self._held.get(held.spec.id) is held:
                held.record.tell()

    def _get(self, id: str) -> Held:
        try:
            return self._held[id]
        except KeyError:
            raise NotFound(f"there is no container {id}", hint="it may have been removed") from None

    def _order(
        self, held: Held, args: tuple[str, ...], env: dict[str, str], user: str, workdir: str
    ) -> dict[str, Any]:
        """How the shim is to start a command in this container; see `launch`."""
        mark = f"{self._scope}/{held.spec.id}"
        return {
            "args": args,
            "env": {"PATH": DEFAULT_PATH, **env, MARK: mark},
            "mark": mark,
            "identity": identity(user),
            "workdir": workdir,
            "groups": [] if held.cgroup is None else self._groups.members(held.spec.id),
            "netns": held.spec.netns,
        }

    async def _signal(self, held: Held, number: int, *, everything: bool = False) -> None:
        await held.settled()
        if held.running:
            with contextlib.suppress(Unavailable):  # the shim died: then the command is being ended anyway
                await held.shim.request(
                    {"do": "kill", "id": held.spec.id, "signal": number, "all": everything}
                )

    async def _kill(self, held: Held) -> None:
        """Returns when all of it is dead. Raises `Unavailable` when that takes unreasonably long."""
        await self._signal(held, 9, everything=True)
        if not held.begun:
            return
        try:
            async with asyncio.timeout(_DYING):
                await held.ended.wait()
        except TimeoutError:
            raise Unavailable(
                f"container {held.spec.id} was killed but does not end",
                hint="a process of it may hang in the kernel; try again, or restart the machine",
            ) from None

    @staticmethod
    async def _exit(held: Held) -> Exit:
        await held.ended.wait()
        return held.exit or Exit(code=None, at=_now(), reason="it was removed before it was started")

    def _heard(self, message: dict[str, Any]) -> None:
        held = self._held.get(message["id"])
        if held is None:
            return
        if message["event"] == "oom":
            self._tell(RuntimeEvent(kind="oom", id=held.spec.id))
        elif held.exit is None:
            exit = msgspec.convert(message["exit"], Exit)
            if held.starting is None or held.starting.done():
                self._ended(held, exit)
            else:  # the answer that it runs came along with the news of its end, and is read first
                held.starting.add_done_callback(lambda _: self._ended(held, exit))

    def _ended(self, held: Held, exit: Exit) -> None:
        if held.exit is not None:
            return
        held.birth = held.birth or held.record.known().born
        held.exit = exit
        held.ended.set()
        self._tell(RuntimeEvent(kind="exited", id=held.spec.id, exit=exit))

    def _end(self, held: Held, exit: Exit) -> None:
        held.record.end(exit)
        self._ended(held, exit)

    def _tell(self, event: RuntimeEvent) -> None:
        self._untold.append(event)
        self._news.set()

    def _lost(self) -> None:
        if self._adopting is not None:
            self._adopting.cancel()  # what it goes by is the list of an older line
        self._adopting = asyncio.get_running_loop().create_task(self._adopt_again())

    async def _adopted(self) -> None:
        """Until then nothing may start: a command that the list does not have is taken for a leftover."""
        if self._adopting is not None:
            _, late = await asyncio.wait([self._adopting], timeout=_DYING)
            if late:
                raise Unavailable(
                    "the commands of a process that died are still being ended", hint="try again in a while"
                )

    async def _adopt_again(self) -> None:
        while True:
            try:
                return await self._adopt()
            except (Unavailable, OSError) as problem:
                _log.warning("cannot find out which commands run, trying again: %s", problem)
                await asyncio.sleep(1)

    async def _adopt(self) -> None:
        """Brings what is known in line with the shims and the records; without a shim nothing may run.

        The record of an exit comes before the shim's list, see `ShimClient.connect`."""
        running = await self._running()
        births: dict[str, Birth] = {}
        unsure: list[Held] = []
        for id, held in list(self._held.items()):
            if held.exit is not None:
                continue
            known = held.record.known()
            # The shim may have done what it was asked only after the daemon that asked was killed.
            held.birth = held.birth or known.born
            held.begun = held.begun or held.birth is not None
            exit = known.exit or msgspec.convert(self._shim.ended.get(id), Exit | None)
            if exit is not None:
                self._take_note(held, exit, told=known.told)
            elif id not in running:
                unsure.append(held)
                if held.birth is not None and held.birth.boot == self._boot:
                    births[id] = held.birth
        orphans = Orphans(self._scope, running, births)
        groups = [self._groups.members(held.spec.id) for held in unsure if held.cgroup and held.begun]
        found = await asyncio.to_thread(orphans.end, groups)
        for held in unsure:
            if held.exit is None and (held.begun or held.spec.id in found):
                self._end(held, self._lost_exit(held, orphans.was_alive | found))

    async def _running(self) -> set[str]:
        """Ids of what any shim has; one of an earlier version is asked to end when it has none."""
        running = set(await self._shim.connect(start=False) or ())
        if any(held.shim is self._earlier and held.exit is None for held in self._held.values()):
            running |= set(await self._earlier.connect(start=False) or ())
            if self._earlier.connected:
                await self._earlier.request({"do": "quit"})
        return running

    def _take_note(self, held: Held, exit: Exit, *, told: bool) -> None:
        held.exit = exit
        held.ended.set()
        if not told:
            self._tell(RuntimeEvent(kind="exited", id=held.spec.id, exit=exit))

    def _lost_exit(self, held: Held, alive: Set[str]) -> Exit:
        if held.birth is not None and held.birth.boot != self._boot:
            return lost("the machine restarted while it ran")
        was = held.spec.id in alive
        how = "it was killed, because nobody could learn how it ends" if was else "it ended meanwhile"
        return lost(f"the process that watched it died; {how}")


def _now() -> int:
    return time.time_ns() // 1_000_000
