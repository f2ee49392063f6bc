"""The volumes of a node in memory: each holds the bytes of the tar that it was filled with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from hivemind.errors import Conflict
from hivemind.model.backup import Backup, BackupTarget
from hivemind.model.volume import BackupPolicy, BackupResult, Volume


class MemoryVolumes:
    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.made: list[Backup] = []

    async def export(self, volume: Volume) -> AsyncIterator[bytes]:
        if volume.id not in self.held:
            raise Conflict(f"volume {volume.name!r} is not ready", hint="fill it first")
        for byte in self.held[volume.id]:
            yield bytes([byte])

    async def bring(self, volume: Volume, chunks: AsyncIterator[bytes], *, replace: bool) -> None:
        if volume.id in self.held and not replace:
            raise Conflict(f"volume {volume.name!r} holds something already", hint="--replace")
        self.held[volume.id] = b"".join([chunk async for chunk in chunks])

    async def back_up(
        self, volume: Volume, policy: BackupPolicy, heard: Callable[[float], None], *, verify: bool
    ) -> BackupResult:
        if volume.id not in self.held:
            raise Conflict(f"volume {volume.name!r} is not ready", hint="fill it first")
        heard(0.5)
        id = f"{len(self.made):08x}"
        self.made.append(Backup(id=id, time=1, volume=volume.name, project=volume.project, hive="h"))
        return BackupResult(id=id, target=policy.target, consistency="stopped")

    async def backups(self, target: BackupTarget, volume: str) -> list[Backup]:
        return [backup for backup in self.made if volume in ("", backup.volume)]
