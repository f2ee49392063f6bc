"""What can be done with volumes and backup targets beyond list, get, put and delete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hivemind.client.collection import Collection
from hivemind.client.connection import Connection, understood
from hivemind.client.streams import lines
from hivemind.model.backup import BACKUP_TARGET, Backup, BackupList, BackupProgress, BackupTargetDocument
from hivemind.model.base import encode
from hivemind.model.names import DEFAULT_PROJECT
from hivemind.model.volume import VOLUME, Source, VolumeDocument

_LONG = 3600.0
"""Seconds that the daemon may be busy before it answers."""


class Volumes(Collection[VolumeDocument]):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, VOLUME)

    def restore(self, name: str, source: Source, project: str = DEFAULT_PROJECT) -> VolumeDocument:
        """Its content is replaced; wait until `status.content` is the answer's `content`. Raises `Conflict` while it
        is used."""
        body = encode({"source": source})
        answer = self._connection.call("POST", f"{self.path(name, project)}/restore", body=body)
        return understood(answer.body, VolumeDocument)

    def back_up(
        self, name: str, project: str = DEFAULT_PROJECT, *, target: str = "", verify: bool = False
    ) -> Iterator[BackupProgress]:
        """The last value has `result`. Raises what made it fail."""
        body = encode({"verify": verify, **({"target": target} if target else {})})
        for line in lines(self._connection, "POST", f"{self.path(name, project)}/backup", body=body):
            progress = understood(line, BackupProgress)
            if progress.error is not None:
                raise progress.error.error()
            yield progress

    def export(self, name: str, project: str = DEFAULT_PROJECT) -> Iterator[bytes]:
        """A tar of all it holds, piece by piece. Raises `Unavailable` when it breaks off."""
        path = f"{self.path(name, project)}/export"
        opened = self._connection.open("GET", path, timeout=_LONG)
        with opened as exchange, self._connection.explained():
            yield from exchange.pieces()

    def bring(
        self, name: str, archive: Iterable[bytes], project: str = DEFAULT_PROJECT, *, replace: bool = False
    ) -> VolumeDocument:
        """Fills it with a tar, all of it or nothing. Raises `Conflict` if it holds something, unless `replace`."""
        answer = self._connection.call(
            "POST",
            f"{self.path(name, project)}/import",
            query={"replace": "true" if replace else None},
            body=archive,
            headers={"Content-Type": "application/x-tar"},
            timeout=_LONG,
        )
        return understood(answer.body, VolumeDocument)


class BackupTargets(Collection[BackupTargetDocument]):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, BACKUP_TARGET)

    def backups(self, name: str, project: str = DEFAULT_PROJECT, *, volume: str = "") -> list[Backup]:
        """What is there, oldest first; of that volume, or of all."""
        answer = self._connection.call(
            "GET", f"{self.path(name, project)}/backups", query={"volume": volume or None}, timeout=_LONG
        )
        return understood(answer.body, BackupList).items
