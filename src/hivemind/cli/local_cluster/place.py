"""Where a local cluster lives, and what it is made of: written down before anything is started, so that whatever
becomes of the command, the next one finds what it left.

    <clusters>/<swarm>/up.lock       held by the command that watches over it
    <clusters>/<swarm>/nodes.json    its nodes
    <clusters>/<swarm>/<number>/     data and sockets of one node
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import msgspec

from hivemind.errors import Conflict, Unavailable
from hivemind.model.base import Record

VARIABLE = "HIVEMIND_CLUSTERS"


class LocalNode(Record, frozen=True, kw_only=True):
    number: int
    name: str
    home: str
    web_port: int
    ws_port: int
    """0: none."""
    hive_port: int

    @property
    def data(self) -> Path:
        return Path(self.home) / "data"

    @property
    def run(self) -> Path:
        return Path(self.home) / "run"

    @property
    def log(self) -> Path:
        return Path(self.home) / "log"

    @property
    def socket(self) -> Path:
        return self.run / "hivemind.sock"


class Written(Record, frozen=True, kw_only=True):
    swarm: str
    cleanup: bool
    nodes: tuple[LocalNode, ...]
    detached: bool = False
    """It is meant to run although nobody watches over it."""


def clusters() -> Path:
    """`HIVEMIND_CLUSTERS`; else a directory beside those of daemons."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/hivemind-clusters")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "hivemind-clusters"


class Place:
    def __init__(self, swarm: str) -> None:
        self.home = clusters() / swarm
        self.swarm = swarm
        self._lock: int | None = None

    def read(self) -> Written | None:
        """None: there is nothing of it."""
        try:
            return msgspec.json.decode((self.home / "nodes.json").read_bytes(), type=Written)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise Unavailable(f"{self.home}/nodes.json cannot be read: {error}") from None

    def write(self, written: Written) -> None:
        """Before any of these nodes is started."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self.home / f"nodes.{os.getpid()}"
        aside.write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=2))
        aside.replace(self.home / "nodes.json")

    def hold(self) -> None:
        """Until this process ends, however it ends. Raises `Conflict` when another command watches over it."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.home / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise Conflict(
                f"the cluster {self.swarm} is in the hands of process {holder}",
                hint="end that with Ctrl-C, or: hivemind cluster down",
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._lock = handle

    def holder(self) -> int:
        """Pid of the command that watches over it; 0: none does."""
        try:
            handle = os.open(self.home / "up.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return 0
        except BlockingIOError:
            return int(os.pread(handle, 32, 0) or b"0")
        finally:
            os.close(handle)

    def remove(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
