"""What a node keeps of one container, so that a daemon killed at any instant finds it again.

    containers/<id>/record.json   its spec and its processes; whole or absent, never half-written
                    exit.json     how it ended
                    config.json   the OCI configuration; the directory is the runtime's bundle
                    rootfs upper work layers/   the overlay mount and its parts
                    files/        resolv.conf, hosts, hostname
                    sources/      what is mounted from outside
                    remains/      while the files of one that ended are opened
                    log log.1 …   its output
    exits/<id>                    the monitor's word that it ended; goes once the event was delivered

A record without a `pid` is of a container whose creation did not finish.
"""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from hivemind.drivers.runtimes.contract import ContainerSpec, Exit
from hivemind.drivers.runtimes.oci.idmap import Users
from hivemind.drivers.runtimes.secrets import public


class Record(msgspec.Struct, frozen=True, kw_only=True):
    spec: ContainerSpec
    boot: str
    """Boot id of the machine it was made in: after a restart none of the processes exist."""
    runtime: str = ""
    """`crun` or `runc`."""
    created: int = 0
    started: int = 0
    """Milliseconds since 1970; 0: not yet."""
    pid: int = 0
    monitor: int = 0
    """Process id of its conmon."""
    users: Users | None = None
    """The ids it has on the node; None: the node's own."""


class Directory:
    """The files of one container."""

    def __init__(self, state: Path, id: str, stage: Path | None = None, private: Path | None = None) -> None:
        self.path = state / "containers" / id
        self.staged = stage / id if stage else None
        """Where a container in a user namespace is put together instead (see `stage`); in memory."""
        self._private = private / id if private else None
        self.told = state / "exits" / id
        self.record = self.path / "record.json"
        self.exit = self.path / "exit.json"
        self.log = self.path / "log"
        self.config = self.path / "config.json"
        self.remains = self.path / "remains"
        self.monitor_pid = self.path / "monitor.pid"

    def place(self, users: Users | None) -> Path:
        """Where its mounts are."""
        if users is None:
            return self.path
        assert self.staged is not None, "there is no stage on this machine"
        return self.staged

    def rootfs_of(self, users: Users | None) -> Path:
        return self.place(users) / "rootfs"

    def save(self, record: Record) -> None:
        _write(self.record, msgspec.json.encode(msgspec.structs.replace(record, spec=public(record.spec))))

    def save_config(self, configuration: bytes, spec: ContainerSpec) -> None:
        """One with secret variables goes where no disk sees it, together with those; a link is left in its place."""
        if not spec.secret_env:
            self.config.write_bytes(configuration)
            return
        assert self._private is not None, "secret variables have nowhere to go"
        self._private.mkdir(parents=True, mode=0o700)
        (self._private / "secret.json").write_bytes(msgspec.json.encode(spec.secret_env))
        (self._private / "config.json").write_bytes(configuration)
        self.config.symlink_to(self._private / "config.json")

    def forget_half_told(self) -> None:
        """What a monitor that was killed while it told the ending (`<id>.AB12CD`) left."""
        for path in self.told.parent.glob(f"{self.told.name}.*"):
            suffix = path.name.removeprefix(f"{self.told.name}.")
            if len(suffix) == 6 and suffix.isupper():  # a companion's name is in lower case
                path.unlink(missing_ok=True)

    def forget_secrets(self) -> None:
        """Once it has ended. Its configuration stays, without the secret variables."""
        if self._private is None or not self._private.exists():
            return
        with suppress(OSError):  # on a full disk the configuration goes, too
            configuration = msgspec.json.decode((self._private / "config.json").read_bytes())
            secret = self._load_secrets()
            process = configuration["process"]
            process["env"] = [one for one in process["env"] if one.partition("=")[0] not in secret]
            _write(self.config, msgspec.json.encode(configuration))
        shutil.rmtree(self._private, ignore_errors=True)

    def load(self) -> Record | None:
        """None when it is missing or unreadable, which means that the creation did not finish."""
        try:
            record = msgspec.json.decode(self.record.read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        secrets = self._load_secrets()
        return msgspec.structs.replace(record, spec=msgspec.structs.replace(record.spec, secret_env=secrets))

    def _load_secrets(self) -> dict[str, str]:
        """None after a restart of the machine: then nothing runs that had them, either."""
        if self._private is None:
            return {}
        try:
            return msgspec.json.decode((self._private / "secret.json").read_bytes(), type=dict[str, str])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}

    def save_exit(self, exit: Exit) -> None:
        _write(self.exit, msgspec.json.encode(exit))

    def load_exit(self) -> Exit | None:
        try:
            return msgspec.json.decode(self.exit.read_bytes(), type=Exit)
        except (FileNotFoundError, msgspec.DecodeError):
            return None


@cache
def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _write(path: Path, data: bytes) -> None:
    draft = path.with_suffix(f".{threading.get_native_id()}.draft")
    draft.write_bytes(data)
    os.replace(draft, path)
