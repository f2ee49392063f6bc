"""What the API asks of the node about the files of its volumes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from hivemind.model.backup import Backup, BackupTarget
from hivemind.model.volume import BackupPolicy, BackupResult, Volume


class VolumeDesk(Protocol):
    """All raise `Conflict` for a volume that is on another node, or not ready."""

    def export(self, volume: Volume) -> AsyncIterator[bytes]:
        """A tar of all it holds, as of one moment."""

    async def bring(self, volume: Volume, chunks: AsyncIterator[bytes], *, replace: bool) -> None:
        """Fills it with a tar, all of it or nothing."""

    async def back_up(
        self, volume: Volume, policy: BackupPolicy, heard: Callable[[float], None], *, verify: bool
    ) -> BackupResult: ...

    async def backups(self, target: BackupTarget, volume: str) -> list[Backup]:
        """What is there, of that volume or of all, by whichever hive; oldest first."""
