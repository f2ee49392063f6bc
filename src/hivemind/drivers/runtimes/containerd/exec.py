"""Commands that join a running container, their input and output through pipes that containerd's shim copies to."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.containerd.api import Api
from hivemind.drivers.runtimes.containerd.explain import explain
from hivemind.drivers.runtimes.containerd.spool import Stream
from hivemind.drivers.runtimes.contract import ExecSpec
from hivemind.drivers.runtimes.input import Input
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound, Unavailable

PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process"
_BLOCK = 65_536
_CANNOT_RUN, _NOT_FOUND, _KILLED = 126, 127, 137
_RETRY = 0.5
_CONTROL_D = b"\x04"


class Command:
    """Implements `ExecSession`. Pull-driven: nothing is read before the caller wants it, so a slow reader slows the
    command down and no memory fills. `files`: a directory of this command alone, named like its exec id."""

    def __init__(self, api: Api, container: str, files: Path, spec: ExecSpec, cgroup: Cgroup) -> None:
        self._api = api
        self._at: dict[str, Any] = {"container_id": container, "exec_id": files.name}
        self._files = files
        self._spec = spec
        self._cgroup = cgroup
        self._outputs: dict[int, Stream] = {}
        self._input = Input(-1)
        self._pid = 0
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._complaint = b""
        self._ending: asyncio.Task[None] | None = None

    async def run(
        self, process: dict[str, Any], spawn: Callable[[Coroutine[Any, Any, None]], object]
    ) -> None:
        """Starts it; `spawn` keeps a task. Raises `Conflict` when the container does not run."""
        self._files.mkdir(parents=True)
        try:
            pipes = self._make_pipes()
            await self._api.call(
                "tasks.v1.Tasks/Exec",
                **self._at,
                **pipes,
                terminal=self._spec.tty,
                spec={"type_url": PROCESS, "value": msgspec.json.encode(process)},
            )
            try:
                self._pid = (await self._api.call("tasks.v1.Tasks/Start", **self._at))["pid"]
            except HivemindError as error:
                await self._refused(error)
                return
            if self._spec.stdin:
                self._input = Input(
                    os.open(self._files / "stdin", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                )
        except NotFound as error:
            self._drop_all()
            raise Conflict("the container has just ended", hint="read its log") from error
        except BaseException:
            self._drop_all()
            raise
        spawn(self._wait())

    async def read(self) -> tuple[Stream, bytes] | None:
        while self._outputs:
            ready = await self._readable()
            for fd in ready:
                data = _read(fd)
                if data:
                    return self._outputs[fd], data
                if data is not None:
                    self._drop(fd)
            if not ready and self._code.done() and self._ending is None:
                # What children left behind may still write is nobody's output. The shim first hands over what it
                # has, then closes its ends.
                self._ending = asyncio.ensure_future(self._forget())
        await asyncio.shield(self._code)
        said, self._complaint = self._complaint, b""
        if said:
            return "stdout" if self._spec.tty else "stderr", said
        await self._clear()
        return None

    async def write(self, data: bytes) -> None:
        """Input for the command. Waits while much is waiting; what it no longer reads is dropped."""
        await self._input.write(data)

    async def close_stdin(self) -> None:
        if self._spec.tty:
            await self._input.write(_CONTROL_D)
        elif self._spec.stdin:
            self._input.finish()
            await self._quietly("CloseIO", stdin=True)

    async def resize(self, columns: int, rows: int) -> None:
        """Sets the size of the command's terminal, which tells the command by SIGWINCH."""
        if self._spec.tty and not self._code.done():
            await self._quietly("ResizePty", width=columns, height=rows)

    async def wait(self) -> int:
        return await asyncio.shield(self._code)

    async def close(self) -> None:
        if not self._code.done():
            await asyncio.to_thread(kill_session, self._cgroup, self._pid)
        await asyncio.shield(self._code)
        self._drop_all()
        await self._clear()

    def _make_pipes(self) -> dict[str, Any]:
        streams: tuple[Stream, ...] = ("stdout",) if self._spec.tty else ("stdout", "stderr")
        made: dict[str, Any] = {}
        for stream in streams:
            path = self._files / stream
            os.mkfifo(path, 0o600)
            self._outputs[os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)] = stream
            made[stream] = str(path)
        if self._spec.stdin:
            os.mkfifo(self._files / "stdin", 0o600)
            made["stdin"] = str(self._files / "stdin")
        return made

    async def _refused(self, error: HivemindError) -> None:
        """The command was never run: 127 or 126, as a shell would say."""
        self._drop_all(files=False)
        await self._forget()
        told = explain(error)
        if not isinstance(told, Invalid):
            shutil.rmtree(self._files, ignore_errors=True)
            if "stopped" in told.message or "not running" in told.message:
                raise Conflict("the container has just ended", hint="read its log") from error
            raise told from error
        self._complaint = f"{told.message}\n".encode()
        self._code.set_result(_CANNOT_RUN if "permission" in told.message.lower() else _NOT_FOUND)

    async def _wait(self) -> None:
        """Through restarts of containerd: its shim keeps the code."""
        while not self._code.done():
            try:
                ended = await self._api.call("tasks.v1.Tasks/Wait", **self._at, patient=True)
            except NotFound:
                self._code.set_result(_KILLED)
            except Unavailable:
                await asyncio.sleep(_RETRY)
            else:
                self._code.set_result(ended["exit_status"])

    async def _forget(self) -> None:
        await self._quietly("DeleteProcess")

    async def _clear(self) -> None:
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._forget())
        await asyncio.shield(self._ending)
        self._input.close()
        shutil.rmtree(self._files, ignore_errors=True)

    async def _quietly(self, method: str, **fields: Any) -> None:
        """What ended need not be told any more; what cannot be told is cleared with its container."""
        try:
            await self._api.call(f"tasks.v1.Tasks/{method}", **self._at, **fields)
        except HivemindError:
            pass

    async def _readable(self) -> list[int]:
        """Outputs with something to read (or their end); none once the command ended and nothing is there now."""
        loop = asyncio.get_running_loop()
        if self._code.done() and self._ending is None:
            await asyncio.sleep(0)
            return [fd for fd in self._outputs if _has_input(fd)]
        waiting: asyncio.Future[None] = loop.create_future()

        def wake(*_: object) -> None:
            if not waiting.done():
                waiting.set_result(None)

        for fd in self._outputs:
            loop.add_reader(fd, wake)
        if not self._code.done():
            self._code.add_done_callback(wake)
        try:
            await waiting
        finally:
            self._code.remove_done_callback(wake)
            for fd in self._outputs:
                loop.remove_reader(fd)
        return [fd for fd in self._outputs if _has_input(fd)]

    def _drop(self, fd: int) -> None:
        del self._outputs[fd]
        os.close(fd)

    def _drop_all(self, *, files: bool = True) -> None:
        for fd in list(self._outputs):
            self._drop(fd)
        if files:
            self._input.close()
            shutil.rmtree(self._files, ignore_errors=True)


def kill_session(cgroup: Cgroup, pid: int) -> None:
    """SIGKILL to a command and everything of its session."""
    for member in cgroup.processes():
        try:
            if member == pid or os.getsid(member) == pid:
                os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _read(fd: int) -> bytes | None:
    """Empty at its end, None when there is nothing now."""
    try:
        return os.read(fd, _BLOCK)
    except BlockingIOError:
        return None


def _has_input(fd: int) -> bool:
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(0))
