"""Attachments on disk, one small file each, so that a new daemon knows what the old one attached.

A record is written whole or not at all. It need not survive a power cut: what it describes would not either.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from hivemind.drivers.network.contract import Attachment
from hivemind.errors import Corrupt, Invalid


class Record(msgspec.Struct, frozen=True, kw_only=True):
    attachment: Attachment
    link: str = ""
    """Name of the link on the node's side."""
    index: int = 0
    """The kernel's number of that link, which it does not give twice."""


class Records:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self) -> dict[str, Record]:
        """Every record by allocation. Raises Corrupt, naming the file, when one is unreadable."""
        self._directory.mkdir(parents=True, exist_ok=True)
        found = {}
        for path in sorted(self._directory.iterdir()):
            if path.suffix == ".new":
                path.unlink()
                continue
            try:
                record = msgspec.json.decode(path.read_bytes(), type=Record)
            except msgspec.DecodeError as error:
                raise Corrupt(
                    f"{path} does not describe an attachment: {error}",
                    hint="Remove that file; its allocation is attached anew.",
                ) from None
            found[record.attachment.allocation] = record
        return found

    def save(self, record: Record) -> None:
        write_whole(self._directory / f"{record.attachment.allocation}.json", msgspec.json.encode(record))

    def remove(self, allocation: str) -> None:
        (self._directory / f"{allocation}.json").unlink(missing_ok=True)

    def destroy(self) -> None:
        if self._directory.exists():
            for path in self._directory.iterdir():
                path.unlink()
            self._directory.rmdir()


def write_whole(path: Path, data: bytes) -> None:
    """Replaces the file at once: a reader sees the old content or the new, even after SIGKILL."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(data)
    os.replace(fresh, path)


def check_allocation(allocation: str) -> None:
    """An allocation's id becomes a file name. Raises Invalid when it cannot be one."""
    if not allocation or allocation.startswith(".") or "/" in allocation or len(allocation) > 200:
        raise Invalid(
            f"{allocation!r} cannot name an allocation",
            hint="Use letters, digits, dots and hyphens, up to 200.",
        )


def port_number(port: str) -> int:
    """80 from `"80/tcp"`. Raises Invalid for anything else."""
    number, _, protocol = port.partition("/")
    if protocol not in ("tcp", "udp") or not number.isdecimal() or not 0 < int(number) < 65536:
        raise Invalid(f"{port!r} is not a port", hint="Write it as 80/tcp or 53/udp.")
    return int(number)
