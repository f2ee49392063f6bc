"""The process runtime: commands of the host, each in its own session and, as root, its own control group.

There is no isolation: a command sees the host's files, users, resolver and host name; `resolv_conf`, `hosts` and
`hostname` of a specification have no effect. Limits need control groups, so root; without, a specification that
asks for them is refused rather than run without.

Commands are children of the shim, not of the daemon. What is on disk (`record`) decides after a restart: a
command with an exit has ended, one that the shim has runs, and anything else was left by a shim that was killed
(it is killed too, its exit code is unknown) or by a boot that is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

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
)
from hivemind.drivers.runtimes.logs import read_log
from hivemind.drivers.runtimes.process.cgroup import ControlGroups
from hivemind.drivers.runtimes.process.check import DEFAULT_PATH, check, identity, refused
from hivemind.drivers.runtimes.process.client import ShimClient
from hivemind.drivers.runtimes.process.held import Held
from hivemind.drivers.runtimes.process.machine import machine, user_name
from hivemind.drivers.runtimes.process.orphan import end_orphan
from hivemind.drivers.runtimes.process.record import Birth, Records, Stored
from hivemind.drivers.runtimes.process.tree import MARK, boot_id, members
from hivemind.drivers.runtimes.process.usage import usage
from hivemind.drivers.runtimes.processes import processes
from hivemind.drivers.runtimes.secrets import check_secrets
from hivemind.drivers.runtimes.signals import signal_number
from hivemind.errors import Conflict, NotFound, Unavailable, Unsupported
from hivemind.model.image import Image

_log = logging.getLogger(__name__)
_DYING = 60.0
"""Seconds that killed processes may take to be gone."""


class ProcessRuntime:
    """`state_dir` keeps records and logs; `run_dir` (a tmpfs, if there is one) the shim's socket."""

    name = "process"
    trouble = ""

    def __init__(self, state_dir: Path, run_dir: Path) -> None:
        self._state_dir, self._run_dir = state_dir.absolute(), run_dir.absolute()
        self._scope = hashlib.sha256(os.fsencode(self._state_dir)).hexdigest()[:12]
        self._records = Records(self._state_dir / "containers", self._run_dir / "secret")
        self._groups = ControlGroups(f"hivemind-{self._scope}")
        self._shim = ShimClient(self._run_dir, self._heard, self._lost)
        self._held: dict[str, Held] = {}
        self._untold: deque[RuntimeEvent] = deque()
        self._news = asyncio.Event()
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
        for id in self._records.open():
            held = Held(self._records.stored(id), None if self.why_no_limits else self._groups.group(id))
            held.birth = self._records.birth(id)
            held.begun = held.birth is not None
            self._held[id] = held
        await self._adopt()

    async def close(self) -> None:
        while (adopting := self._adopting) is not None:  # the line may break meanwhile and begin another
            self._adopting = None
            adopting.cancel()  # whoever opens this next begins it anew
            await asyncio.wait([adopting])
        await self._shim.close()
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
            if await self._shim.connect(start=False) is not None:
                with contextlib.suppress(Unavailable):
                    await self._shim.request({"do": "quit"})
        finally:
            await self.close()
        if not self.why_no_limits:
            self._groups.remove()
        shutil.rmtree(self._state_dir / "containers")
        for name in ("shim.lock", "shim.sock", "shim.log"):
            (self._run_dir / name).unlink(missing_ok=True)

    async def pull(
        self, reference: str, on_progress: OnProgress | None = None, *, policy: PullPolicy = "missing"
    ) -> Image:
        raise Unsupported(
            f"the process runtime has no images, so it cannot pull {reference}",
            hint="give a command instead of an image, or start the daemon with --runtime oci",
        )

    async def create(self, spec: ContainerSpec) -> None:
        self._records.path(spec.id)
        if spec.id in self._held:
            raise Conflict(f"container {spec.id} exists", hint="remove it first, or use another id")
        check(spec, why_no_limits=self.why_no_limits)
        check_secrets(spec, self._run_dir)
        cgroup = None
        if not self.why_no_limits:
            cgroup = self._groups.create(spec.id, cpus=spec.cpus, memory=spec.memory, pids=spec.pids)
        stored = Stored(spec, _now())
        try:
            self._records.create(stored)
        except BaseException:
            if cgroup is not None:
                cgroup.remove()
            raise
        self._held[spec.id] = Held(stored, cgroup)

    async def start(self, id: str) -> int:
        held = self._get(id)
        if held.begun or held.exit is not None:
            raise Conflict(f"container {id} was started already", hint="create a new one")
        held.begun = True
        # The shim finishes what it was asked, so this does too, also when whoever asked is cancelled.
        held.starting = asyncio.get_running_loop().create_task(self._start(held))
        return await asyncio.shield(held.starting)

    async def _start(self, held: Held) -> int:
        id, spec, path = held.spec.id, held.spec, self._records.path(held.spec.id)
        try:
            await self._adopted()
            answer = await self._shim.request(
                {
                    "do": "start",
                    "id": id,
                    "order": self._order(held, spec.args, spec.env | spec.secret_env, spec.user, spec.workdir)
                    | {"record": str(path / "process.json"), "boot": self._boot},
                    "log": {
                        "path": str(self._records.log(id)),
                        "max_size": spec.log_max_size,
                        "max_files": spec.log_max_files,
                    },
                    "exit": str(path / "exit.json"),
                    "oom": str(held.cgroup.memory_file()) if held.cgroup else "",
                }
            )
            if "errno" in answer:
                raise refused(answer, spec.args)
        except BaseException:
            held.begun = (path / "process.json").exists()
            raise
        held.birth = self._records.birth(id) or Birth(answer["pid"], 0, _now(), self._boot)
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
        self._records.remove(id)

    async def exec(self, id: str, spec: ExecSpec) -> ExecSession:
        from hivemind.drivers.runtimes.process.execution import open_session

        held = self._get(id)
        if not held.running:
            raise Conflict(f"container {id} is not running", hint="see its status and exit code")
        base = held.spec
        env = {**base.env, **base.secret_env, **spec.env}
        order = self._order(held, spec.args, env, spec.user or base.user, spec.workdir or base.workdir)
        return await open_session(self._shim, order, spec)

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
        pids = held.cgroup.processes() if held.cgroup else members([], f"{self._scope}/{id}", held.birth.pid)
        return await asyncio.to_thread(processes, pids, user_name)

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
        async for line in read_log(self._records.log(id), query, held.ended.wait):
            yield line

    async def keep_log(self, id: str, directory: Path) -> None:
        held = self._get(id)
        if held.running:
            raise Conflict(f"container {id} runs, and its log with it", hint="stop it first")
        kept_log.move(self._records.log(id), directory)

    async def stats(self, id: str) -> Stats:
        held = self._get(id)
        if held.birth is None or not held.running:
            raise NotFound(f"container {id} is not running, so it uses nothing", hint="see its exit code")
        return usage(held.birth.pid, held.cgroup, f"{self._scope}/{id}", own_network=bool(held.spec.netns))

    async def list(self) -> list[Container]:
        return [held.describe() for held in self._held.values()]

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            self._news.clear()
            while self._untold:
                event = self._untold.popleft()
                if event.kind == "exited":
                    self._records.tell(event.id)
                yield event
            await self._news.wait()

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
                await self._shim.request(
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
            self._ended(held, msgspec.convert(message["exit"], Exit))

    def _ended(self, held: Held, exit: Exit) -> None:
        held.birth = held.birth or self._records.birth(held.spec.id)
        held.exit = exit
        held.ended.set()
        self._tell(RuntimeEvent(kind="exited", id=held.spec.id, exit=exit))

    def _end(self, held: Held, exit: Exit) -> None:
        self._records.end(held.spec.id, exit)
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
        """Brings what is known in line with the shim and the records; without a shim nothing may run.

        The record of an exit comes before the shim's list, see `ShimClient.connect`."""
        running = set(await self._shim.connect(start=False) or ())
        for id, held in list(self._held.items()):
            if held.exit is not None:
                continue
            if (exit := self._records.exit(id)) is not None:
                told = self._records.told(id)
                held.exit = exit
                held.ended.set()
                if not told:
                    self._tell(RuntimeEvent(kind="exited", id=id, exit=exit))
            elif id not in running and (birth := self._records.birth(id)) is not None:
                held.birth = birth
                groups = self._groups.members(id) if held.cgroup else []
                exit = await end_orphan(birth, self._boot, groups, f"{self._scope}/{id}")
                if held.exit is None:
                    self._end(held, exit)


def _now() -> int:
    return time.time_ns() // 1_000_000
