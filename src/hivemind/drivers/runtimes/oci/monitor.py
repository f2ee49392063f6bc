"""conmon: the small parent that a container keeps when the daemon goes. It writes the log and the exit code.

conmon forks itself away, has the OCI runtime create the container and reports over a pipe: the process id, or
what the runtime had to say. It always writes the exit file before it ends, so its own end (a pidfd that becomes
readable) is the one event to wait for.
"""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.oci.record import Directory
from hivemind.errors import HivemindError, Invalid, Unavailable

_PATIENCE = 60_000  # milliseconds for the runtime to create a container on a struggling machine
_REOPEN_LOG = b"2 0 0\n"


class Programs(msgspec.Struct, frozen=True, kw_only=True):
    """The binaries, and where the runtime keeps its own state."""

    monitor: str
    runtime: str
    root: str

    @property
    def name(self) -> str:
        return Path(self.runtime).name


class _Report(msgspec.Struct):
    data: int
    message: str = ""


def create(
    programs: Programs,
    directory: Directory,
    spec: ContainerSpec,
    log_limit: int,
    raised: Sequence[str] = (),
) -> tuple[int, int]:
    """Creates the container whose bundle is `directory`; the process ids of its init and of its monitor.

    Blocks. `log_limit`: bytes at which the monitor starts its log over, for when nobody rotates it. `raised`: a
    command that runs it with other limits (see `limits`)."""
    id = spec.id
    reader, writer = os.pipe()
    try:
        os.set_inheritable(writer, True)
        command = [
            *raised,
            programs.monitor,
            *("--api-version", "1", "-c", id, "-u", id, "-n", id),
            *("-r", programs.runtime, "--runtime-arg", "--root", "--runtime-arg", programs.root),
            *("-b", str(directory.path), "-p", str(directory.path / "pid"), "-P", str(directory.monitor_pid)),
            *("-l", f"k8s-file:{directory.log}", "--log-size-max", str(log_limit)),
            *("--exit-dir", str(directory.told.parent), "--full-attach"),
            *(["--terminal"] if spec.tty else []),
            # Whoever leaves a terminal may come back to it; without one, leaving is the end of the input.
            *(["--stdin"] if spec.stdin else []),
            *(["--leave-stdin-open"] if spec.tty else []),
        ]
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writer,),
            env=os.environ | {"_OCI_SYNCPIPE": str(writer)},
            start_new_session=True,
        )
        os.close(writer)
        writer = -1
        report = _read_report(reader)
        child.wait()
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if report.data < 0:
        raise explain(report.message)
    return report.data, int(directory.monitor_pid.read_text())


def reopen_log(directory: Directory) -> None:
    """Makes the monitor go on in a new file after the log was renamed. Nothing happens when it ended."""
    _tell(directory, _REOPEN_LOG)


def resize_terminal(directory: Directory, columns: int, rows: int) -> None:
    """The container hears of it by SIGWINCH. Nothing happens when it ended."""
    _tell(directory, b"1 %d %d\n" % (rows, columns))


def _tell(directory: Directory, message: bytes) -> None:
    try:
        fd = os.open(directory.path / "ctl", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody reads the fifo, or it is gone
        return
    try:
        os.write(fd, message)
    finally:
        os.close(fd)


def explain(message: str) -> HivemindError:
    """A runtime's complaint as an error in plain words."""
    said = complaint(message)
    low = said.lower()
    if "executable file" in low or "exec:" in low or "exec `" in low or "exec format error" in low:
        return Invalid(
            f"the image cannot run this command: {said}",
            hint="check the spelling, or give the full path of an executable that the image has",
        )
    if "no space left" in low:
        return Unavailable(f"the container cannot be made: {said}", hint="free some disk space")
    if "mount" in low or "cwd" in low or "chdir" in low:
        return Invalid(f"the container cannot be made: {said}", hint="check its mounts and working directory")
    return Unavailable(f"the container runtime refused: {said}")


def complaint(message: str) -> str:
    """The telling part of a runtime's last line, JSON or text, without its own technicalities."""
    lines = [line for line in message.splitlines() if line.strip()]
    said = lines[-1].strip() if lines else "the runtime gave no reason"
    if said.startswith("{"):
        said = str(msgspec.json.decode(said).get("msg", said))
    for prefix in ("exec failed: ", "runc create failed: ", "unable to start container process: "):
        said = said.removeprefix(prefix)
    return said


def _read_report(reader: int) -> _Report:
    waiting = select.poll()
    waiting.register(reader, select.POLLIN)
    if not waiting.poll(_PATIENCE):
        return _Report(-1, "it did not answer for a minute")
    data = os.read(reader, 65_536)
    while data and not data.endswith(b"\n"):
        more = os.read(reader, 65_536)
        if not more:
            break
        data += more
    if not data:
        return _Report(-1, "the monitor ended without a word")
    return msgspec.json.decode(data, type=_Report)
