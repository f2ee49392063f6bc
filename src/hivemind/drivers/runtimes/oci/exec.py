"""Commands that join a running container, each a foreground `exec` of the OCI runtime as our child.

The session is pull-driven: nothing is read from the command before the caller wants it, so a slow reader slows
the command down and no memory fills. How a command gets a terminal is told in `terminal`.
"""

from __future__ import annotations

import asyncio
import os
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Literal

import msgspec

from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec
from hivemind.drivers.runtimes.input import Input
from hivemind.drivers.runtimes.oci import bundle, joining, terminal, users
from hivemind.drivers.runtimes.oci.idmap import Users
from hivemind.drivers.runtimes.oci.monitor import Programs, complaint

_BLOCK = 65_536
_BEGIN = 4096
_CANNOT_RUN, _NOT_FOUND = 126, 127
_PATIENCE = 2.0

Stream = Literal["stdout", "stderr"]


class Session:
    """A running command; made by `launch` on one of the mount namespace's threads, then used in the loop."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        files: Path,
        cgroup: Cgroup,
        outputs: dict[int, Stream],
        stdin: int,
        terminal: terminal.Terminal | None = None,
    ) -> None:
        self._child = child
        self._files = files
        self._cgroup = cgroup
        self._outputs = outputs
        self._stdin = stdin
        self._input: Input
        self._terminal = terminal
        self._code: asyncio.Future[int]
        self._pidfd = -1
        self._complaint = b""
        self._begun = b""  # the first of what it wrote, in which some runtimes complain, too

    def attach(self) -> None:
        """From here on the event loop hears of the command's end."""
        loop = asyncio.get_running_loop()
        self._code = loop.create_future()
        self._input = Input(self._stdin)
        self._pidfd = os.pidfd_open(self._child.pid)
        loop.add_reader(self._pidfd, self._on_end)

    async def read(self) -> tuple[Stream, bytes] | None:
        while self._outputs:
            ready = await self._readable()
            for fd in ready:
                stream = self._outputs[fd]
                try:
                    data = os.read(fd, _BLOCK)
                except BlockingIOError:
                    continue
                except OSError:  # a terminal whose last user left
                    data = b""
                if data:
                    self._begun += data[: max(_BEGIN - len(self._begun), 0)]
                    return stream, data
                self._drop(fd)
            if (
                not ready and self._code.done()
            ):  # what children left behind may still write is nobody's output
                for fd in list(self._outputs):
                    self._drop(fd)
        await asyncio.shield(self._code)
        said, self._complaint = self._complaint, b""
        if said and said.strip() not in self._begun:
            return "stderr" if self._terminal is None else "stdout", said
        return None

    async def write(self, data: bytes) -> None:
        """Input for the command. Waits while much is waiting; what it no longer reads is dropped."""
        await self._input.write(data)

    async def close_stdin(self) -> None:
        if self._terminal is not None:
            await self._input.write(b"\x04")
        else:
            self._input.finish()

    async def resize(self, columns: int, rows: int) -> None:
        """Sets the size of the command's own terminal, which tells the command by SIGWINCH."""
        if self._terminal is not None and not self._code.done():
            self._terminal.resize(columns, rows)

    async def wait(self) -> int:
        return await asyncio.shield(self._code)

    async def close(self) -> None:
        if not self._code.done():
            await asyncio.to_thread(self._kill)
        await asyncio.shield(self._code)
        for fd in list(self._outputs):
            self._drop(fd)
        self._input.close()

    def _on_end(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._child.wait()
        if not (self._files / "pid").exists():  # the command was never run
            said = complaint((self._files / "log").read_text(errors="replace"))
            code = _CANNOT_RUN if "permi" in said.lower() else _NOT_FOUND
            self._complaint = f"{said}\n".encode()
        shutil.rmtree(self._files, ignore_errors=True)
        self._code.set_result(code if code >= 0 else 128 - code)

    def _kill(self) -> None:
        """SIGKILL to the command and everything of its session. Blocks."""
        deadline = time.monotonic() + _PATIENCE
        pid = 0
        while not pid and self._child.returncode is None and time.monotonic() < deadline:
            try:
                pid = int((self._files / "pid").read_text())
            except (FileNotFoundError, ValueError):  # the runtime is still about to run it, or it just ended
                time.sleep(0.002)
                if not self._files.exists():
                    return
        for member in self._cgroup.processes() if pid else ():
            try:
                if member == pid or os.getsid(member) == pid:
                    os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not pid:
            self._child.kill()

    async def _readable(self) -> list[int]:
        """Outputs with something to read (or their end); none once the command ended and all was read."""
        loop = asyncio.get_running_loop()
        if self._code.done():
            await asyncio.sleep(0)
            return [fd for fd in self._outputs if _has_input(fd)]
        waiting: asyncio.Future[None] = loop.create_future()

        def wake(*_: object) -> None:
            if not waiting.done():
                waiting.set_result(None)

        for fd in self._outputs:
            loop.add_reader(fd, wake)
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


def launch(
    programs: Programs,
    run_dir: Path,
    container: ContainerSpec,
    pid: int,
    cgroup: Cgroup,
    spec: ExecSpec,
    own: Users | None = None,
) -> Session:
    """Runs the command in the container whose init is `pid` and whose users are its `own`, or the node's.

    Raises `Invalid` for an unknown user."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        account = users.find_account(root, spec.user or container.user)
    finally:
        os.close(root)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    run_dir.mkdir(parents=True, exist_ok=True)
    files = Path(tempfile.mkdtemp(dir=run_dir))
    (files / "log").touch()
    (files / "process.json").write_bytes(
        msgspec.json.encode(bundle.exec_process(container, spec, account, limit))
    )
    command = [
        *(joining.inside(programs, pid) if own else ()),
        *(programs.runtime, "--root", programs.root, "--log", str(files / "log"), "--log-format", "json"),
        *("exec", "--process", str(files / "process.json"), "--pid-file", str(files / "pid")),
    ]
    try:
        if spec.tty:
            return _with_terminal(command, container.id, files, cgroup, spec)
        owner = own.outside(account.uid) if own else -1
        return _with_pipes([*command, container.id], files, cgroup, spec, owner)
    except BaseException:
        shutil.rmtree(files, ignore_errors=True)
        raise


def _with_terminal(command: list[str], id: str, files: Path, cgroup: Cgroup, spec: ExecSpec) -> Session:
    child, opened = terminal.spawn(command, id, files, spec)
    return Session(child, files, cgroup, {opened.fd: "stdout"}, os.dup(opened.fd), opened)


def _with_pipes(command: list[str], files: Path, cgroup: Cgroup, spec: ExecSpec, owner: int) -> Session:
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE if spec.stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    )
    assert child.stdout is not None and child.stderr is not None
    for stream in (child.stdin, child.stdout, child.stderr):
        if (
            stream is not None and owner >= 0
        ):  # so that it may open /dev/stdout; runc cannot see to that itself
            os.fchown(stream.fileno(), owner, -1)
    outputs: dict[int, Stream] = {
        _own(child.stdout.fileno()): "stdout",
        _own(child.stderr.fileno()): "stderr",
    }
    stdin = _own(child.stdin.fileno()) if child.stdin is not None else -1
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()
    return Session(child, files, cgroup, outputs, stdin)


def _own(fd: int) -> int:
    """A non-blocking copy of a descriptor that some object would close."""
    copy = os.dup(fd)
    os.set_blocking(copy, False)
    return copy


def _has_input(fd: int) -> bool:
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(0))
