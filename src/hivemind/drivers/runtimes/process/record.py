"""What is known of each command on disk: one file, to which daemon and shim add a line when something happened.

    commands/<id>          {"spec": …, "created": …}  by `create`
                           {"born": …}                by the shim, once it runs
                           {"exit": …}                by the shim: how it ended
                           {"told": true}             by the daemon: its exit was handed to whoever listens to events
    logs/<id>/log[.N]      by the shim, once the command has said something
    logs/<id>/record       by the shim, with it, of a fleeting command: a copy of its record

The record of a fleeting command is in memory. Making and removing a file waits for the disk's journal whenever that is
being written, which is most of the time while the ledger is busy; and after a restart of the machine nobody asks for
more of such a command than its log. A line that was cut short, by a full disk or the end of the machine, is as good
as none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from hivemind.drivers.runtimes.contract import ContainerSpec, Exit
from hivemind.drivers.runtimes.secrets import public
from hivemind.errors import Invalid, Unavailable

_COPY = "record"


class Birth(msgspec.Struct, frozen=True):
    """The process that became the command. `tag`: see `tag`; 0: it has none."""

    pid: int
    start_time: int
    started: int
    boot: str = ""
    tag: int = 0


class Stored(msgspec.Struct, frozen=True):
    spec: ContainerSpec
    created: int


class Known(msgspec.Struct):
    """All lines of a record together."""

    spec: ContainerSpec | None = None
    created: int = 0
    born: Birth | None = None
    exit: Exit | None = None
    told: bool = False


class Record(Protocol):
    """What is on disk of one command. `path` and `log`: where the shim writes; `copy`: where it puts a copy of the
    record beside a log; empty: it need not."""

    path: str
    log: str
    copy: str

    def known(self) -> Known: ...
    def end(self, exit: Exit) -> None:
        """Records an exit in the shim's place."""

    def tell(self) -> None:
        """Records that its exit was handed on. Nothing when it was removed before."""

    def remove(self) -> None: ...


class FileRecord:
    """Implements `Record`."""

    def __init__(self, path: str, logs: str, copy: str = "") -> None:
        self.path, self._logs, self.copy = path, logs, copy
        self.log = f"{logs}/log"

    def create(self, stored: Stored) -> None:
        line = msgspec.json.encode({"spec": public(stored.spec), "created": stored.created})
        try:
            self._write(line, os.O_CREAT | os.O_EXCL)
        except OSError as error:
            if not isinstance(error, FileExistsError):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path)
            name = os.path.basename(self.path)
            raise Unavailable(f"cannot record container {name}: {error.strerror}") from error

    def known(self) -> Known:
        lines: dict[str, Any] = {}
        try:
            text = Path(self.path).read_bytes()
        except FileNotFoundError:
            return Known()
        for line in text.split(b"\n"):
            with contextlib.suppress(msgspec.MsgspecError):
                lines |= msgspec.json.decode(line, type=dict[str, Any])
        return msgspec.convert(lines, Known)

    def end(self, exit: Exit) -> None:
        self._write(b"\n" + msgspec.json.encode({"exit": exit}))

    def tell(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._write(b'\n{"told": true}')

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        if os.path.exists(self._logs):
            shutil.rmtree(self._logs)

    def _write(self, text: bytes, flags: int = 0) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
        try:
            if os.write(fd, text) != len(text):
                raise OSError(28, os.strerror(28))
        finally:
            os.close(fd)


class Records:
    """The files of all commands of one runtime."""

    def __init__(self, directory: Path, memory: Path) -> None:
        """`memory`: a directory that is empty after a restart of the machine; secret variables are kept there, too."""
        self._commands, self._logs = directory / "commands", directory / "logs"
        self._fleeting, self._private = memory / "commands", memory / "secret"

    def open(self) -> dict[str, tuple[FileRecord, Known]]:
        """By id. Clears leftovers of what never was."""
        for place in (self._commands, self._logs, self._fleeting):
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = {}
        for record in self._left():
            known = record.known()
            if known.spec is None:
                record.remove()
            else:
                found[known.spec.id] = record, known
        for name in set(os.listdir(self._logs)) - found.keys():
            shutil.rmtree(self._logs / name)
        return found

    def _left(self) -> Iterator[FileRecord]:
        fleeting = set(os.listdir(self._fleeting))
        for name in sorted(os.listdir(self._commands)):
            yield self.of(name)
        for name in sorted(fleeting):
            yield self.of(name, fleeting=True)
        for name in sorted(set(os.listdir(self._logs)) - fleeting):
            if os.path.exists(copy := f"{self._logs}/{name}/{_COPY}"):
                yield FileRecord(copy, f"{self._logs}/{name}")

    def of(self, id: str, *, fleeting: bool = False) -> FileRecord:
        check_id(id)
        logs = f"{self._logs}/{id}"
        if fleeting:
            return FileRecord(f"{self._fleeting}/{id}", logs, f"{logs}/{_COPY}")
        return FileRecord(f"{self._commands}/{id}", logs)

    def create(self, stored: Stored) -> FileRecord:
        record = self.of(stored.spec.id, fleeting=stored.spec.fleeting)
        if stored.spec.secret_env:
            self._private.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._secret(stored.spec.id).write_bytes(msgspec.json.encode(stored.spec.secret_env))
        try:
            record.create(stored)
        except BaseException:
            self.forget_secrets(stored.spec)
            raise
        return record

    def with_secrets(self, spec: ContainerSpec) -> ContainerSpec:
        try:
            secrets = msgspec.json.decode(self._secret(spec.id).read_bytes(), type=dict[str, str])
        except (FileNotFoundError, msgspec.DecodeError):
            return spec
        return replace(spec, secret_env=secrets)

    def forget_secrets(self, spec: ContainerSpec) -> None:
        if spec.secret_env:
            self._secret(spec.id).unlink(missing_ok=True)

    def destroy(self) -> None:
        for place in (self._commands, self._logs, self._fleeting):
            shutil.rmtree(place)

    def _secret(self, id: str) -> Path:
        return self._private / f"{id}.json"


def check_id(id: str) -> None:
    if not id or "/" in id or "\0" in id or id.startswith("."):
        raise Invalid(f"{id!r} cannot be the id of a container", hint="use letters, digits, dots and dashes")
