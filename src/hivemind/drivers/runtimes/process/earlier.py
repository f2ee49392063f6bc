"""What shims of version 1 wrote: a directory for each command. Read until the last of their commands has ended.

    containers/<id>/{spec.json, process.json, exit.json, told, log/log[.N]}

Their commands run on under the shim that has them, which is asked to end once it has none. Nothing new is started
there: what was made but not started becomes a record of today. So when no directory is left this is not needed again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TypeVar

import msgspec

from hivemind.drivers.runtimes.contract import Exit
from hivemind.drivers.runtimes.process.record import Birth, Known, Stored

T = TypeVar("T")


class EarlierRecord:
    """Implements `Record`."""

    def __init__(self, directory: Path) -> None:
        self._directory, self.path = directory, str(directory)
        self.log = f"{directory}/log/log"
        self.copy = ""

    def known(self) -> Known:
        stored = _read(self._directory / "spec.json", Stored)
        return Known(
            spec=stored.spec if stored else None,
            created=stored.created if stored else 0,
            born=_read(self._directory / "process.json", Birth),
            exit=_read(self._directory / "exit.json", Exit),
            told=(self._directory / "told").exists(),
        )

    def end(self, exit: Exit) -> None:
        new = self._directory / "exit.new"
        new.write_bytes(msgspec.json.encode(exit))
        os.rename(new, self._directory / "exit.json")

    def tell(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self._directory / "told").touch()

    def remove(self) -> None:
        gone = self._directory.with_name(f".gone-{self._directory.name}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._directory, gone)
            shutil.rmtree(gone)


def earlier_records(directory: Path) -> dict[str, EarlierRecord]:
    """By id. Clears leftovers; the directory goes with the last of them."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return {}
    for name in names:
        if name.startswith("."):
            shutil.rmtree(directory / name)
    with contextlib.suppress(OSError):
        directory.rmdir()
    return {name: EarlierRecord(directory / name) for name in names if not name.startswith(".")}


def _read(path: Path, type: type[T]) -> T | None:
    """None when it is not there, or was cut short by a power failure: then the machine restarted anyway."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=type)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
