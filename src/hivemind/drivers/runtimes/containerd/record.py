"""What a node keeps of one container, so that a daemon killed at any instant finds it again.

    containers/<id>/record.json    its spec; whole or absent, never half-written, like all that follow
                    pid            its process, once it is made
                    started        when that was
                    exit.json      how it ended
                    untold         as long as nobody was told of its end
                    *.spool taken  its output on the way into the log (see `spool`)
                    log log.1 …    its output
                    stdin          a pipe, if it takes input
                    files/         resolv.conf, hosts, hostname
                    rootfs/        empty: where it is looked at while it is made

The record is the first thing there is of a container and the last to go, so whatever containerd may have of it is
found by it. One without a `pid` is of a container whose creation did not finish. Nothing is written over: a file
system may take its time for that, to have the new contents on the disk first.
"""

from __future__ import annotations

import os
import shutil
import threading
from functools import cache
from pathlib import Path

import msgspec

from hivemind.drivers.runtimes.contract import ContainerSpec, Exit


class Record(msgspec.Struct, frozen=True, kw_only=True):
    spec: ContainerSpec
    """Without its secret environment: that is in containerd's own record of the container."""
    secrets: tuple[str, ...] = ()
    """Names of what is secret in its environment."""
    boot: str
    """Boot id of the machine it was made in: after a restart none of the processes exist."""
    created: int = 0
    started: int = 0
    """Milliseconds since 1970; 0: not yet."""
    pid: int = 0


class Directory:
    """The files of one container."""

    def __init__(self, state: Path, id: str) -> None:
        self.path = state / "containers" / id
        self.record = self.path / "record.json"
        self.pid = self.path / "pid"
        self.started = self.path / "started"
        self.exit = self.path / "exit.json"
        self.untold = self.path / "untold"
        self.files = self.path / "files"
        self.stdin = self.path / "stdin"
        self.rootfs = self.path / "rootfs"

    def make(self, record: Record) -> None:
        self.path.mkdir()
        _write(self.record, msgspec.json.encode(record))
        self.untold.touch()
        self.rootfs.mkdir()
        if record.spec.stdin:
            os.mkfifo(self.stdin, 0o600)

    def save_pid(self, pid: int) -> None:
        _write(self.pid, str(pid).encode())

    def unmake(self) -> None:
        """Before one that was never started is removed: should the daemon die meanwhile, the next one must not take it
        for one that ran and was killed."""
        self.pid.unlink(missing_ok=True)

    def save_started(self, at: int) -> None:
        _write(self.started, str(at).encode())

    def load(self) -> Record | None:
        """None when it is missing or unreadable, which means that the creation did not finish."""
        try:
            record = msgspec.json.decode(self.record.read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return msgspec.structs.replace(record, pid=_number(self.pid), started=_number(self.started))

    def save_exit(self, exit: Exit) -> None:
        _write(self.exit, msgspec.json.encode(exit))

    def load_exit(self) -> Exit | None:
        try:
            return msgspec.json.decode(self.exit.read_bytes(), type=Exit)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def remove(self) -> None:
        self.record.unlink(missing_ok=True)
        if self.path.exists():
            if self.rootfs.exists():
                self.rootfs.rmdir()  # never recursively: should something be mounted there, it is somebody's
            shutil.rmtree(self.path)


@cache
def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _number(path: Path) -> int:
    """0 when it is not there."""
    try:
        return int(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return 0


def _write(path: Path, data: bytes) -> None:
    draft = path.with_suffix(f".{threading.get_native_id()}.draft")
    draft.write_bytes(data)
    os.replace(draft, path)
