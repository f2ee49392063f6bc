"""What is known of each command on disk: one directory, written by the daemon, its child and the shim in turn.

    containers/<id>/spec.json      by `create`: the specification and when it was made
    containers/<id>/process.json   by the child, before it becomes the command: pid, start time, boot
    containers/<id>/exit.json      by the shim: how it ended
    containers/<id>/told           by the daemon: its exit was handed to whoever listens to events
    containers/<id>/log/log[.N]    by the shim

Directories appear and vanish by one rename each; one whose name starts with a dot is a leftover.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from hivemind.drivers.runtimes.contract import ContainerSpec, Exit
from hivemind.drivers.runtimes.secrets import public
from hivemind.errors import Invalid, Unavailable

T = TypeVar("T")


class Birth(msgspec.Struct, frozen=True):
    """The process that became the command."""

    pid: int
    start_time: int
    started: int
    boot: str = ""


class Stored(msgspec.Struct, frozen=True):
    spec: ContainerSpec
    created: int


class Records:
    """The directory of all commands of one runtime."""

    def __init__(self, directory: Path, private: Path) -> None:
        """`private`: where secret variables are kept; in memory."""
        self._directory = directory
        self._private = private

    def open(self) -> list[str]:
        """Clears leftovers; the ids that are there."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = os.listdir(self._directory)
        for name in names:
            if name.startswith("."):
                shutil.rmtree(self._directory / name)
        return sorted(name for name in names if not name.startswith("."))

    def path(self, id: str) -> Path:
        if not id or "/" in id or "\0" in id or id.startswith("."):
            raise Invalid(
                f"{id!r} cannot be the id of a container", hint="use letters, digits, dots and dashes"
            )
        return self._directory / id

    def log(self, id: str) -> Path:
        return self.path(id) / "log" / "log"

    def create(self, stored: Stored) -> None:
        final = self.path(stored.spec.id)
        self._keep_secrets(stored.spec)
        new = final.with_name(f".new-{final.name}")
        try:
            os.mkdir(new)
            os.mkdir(new / "log")
            (new / "spec.json").write_bytes(msgspec.json.encode(Stored(public(stored.spec), stored.created)))
            os.rename(new, final)
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            self._secret(stored.spec.id).unlink(missing_ok=True)
            raise Unavailable(f"cannot record container {final.name}: {error.strerror}") from error

    def stored(self, id: str) -> Stored:
        stored = msgspec.json.decode((self.path(id) / "spec.json").read_bytes(), type=Stored)
        secrets = _read(self._secret(id), dict[str, str])
        return Stored(replace(stored.spec, secret_env=secrets), stored.created) if secrets else stored

    def _secret(self, id: str) -> Path:
        return self._private / f"{id}.json"

    def _keep_secrets(self, spec: ContainerSpec) -> None:
        if spec.secret_env:
            self._private.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._secret(spec.id).write_bytes(msgspec.json.encode(spec.secret_env))

    def birth(self, id: str) -> Birth | None:
        return _read(self.path(id) / "process.json", Birth)

    def exit(self, id: str) -> Exit | None:
        return _read(self.path(id) / "exit.json", Exit)

    def end(self, id: str, exit: Exit) -> None:
        """Records an exit in the shim's place."""
        path = self.path(id) / "exit.json"
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(exit))
        os.rename(new, path)

    def told(self, id: str) -> bool:
        return (self.path(id) / "told").exists()

    def tell(self, id: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # removed before anybody listened
            os.close(os.open(self.path(id) / "told", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    def remove(self, id: str) -> None:
        path = self.path(id)
        self._secret(id).unlink(missing_ok=True)
        gone = path.with_name(f".gone-{path.name}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, gone)
            shutil.rmtree(gone)


def _read(path: Path, type: type[T]) -> T | None:
    """None when it is not there, or was cut short by a power failure: then the machine restarted anyway."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=type)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
