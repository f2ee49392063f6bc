"""Backups of this node's volumes: by policy, on request, restored and compared from time to time.

When one is due follows from the last one that was seen, so nothing needs to be agreed. What is backed up is a copy
of one moment, so a volume is never away while it is read.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from hivemind.agent.provision.volumes import Volumes
from hivemind.errors import Corrupt, HivemindError, Invalid
from hivemind.model.backup import Backup, BackupTarget
from hivemind.model.volume import BackupPolicy, BackupResult, Origin, Volume
from hivemind.state.storage import find_target

if TYPE_CHECKING:
    from hivemind.drivers.volumes.restic import Repository

log = logging.getLogger(__name__)
_AGAIN = 900_000
"""Milliseconds until a backup that failed is tried again, if it is not due sooner."""
_IDLE = 3600.0
"""Seconds between two looks at what is due, when nothing is known to be."""
PASSWORD, ACCESS_KEY, SECRET_KEY, CA = "password", "access-key-id", "secret-access-key", "ca"
"""Keys of a backup target's secret."""
Heard = Callable[[float], None]


class Secrets(Protocol):
    def __call__(self, project: str, name: str) -> dict[str, bytes]:
        """What a secret holds, open. Raises `NotFound`, `Corrupt`."""


class Backups:
    def __init__(self, volumes: Volumes, secrets: Secrets, hive: str, home: Path) -> None:
        self._volumes = volumes
        self._secrets = secrets
        self._hive = hive[:12]
        self._cache = home / "cache"
        self._scratch = home / "scratch"
        self._wake = asyncio.Event()
        self._busy: dict[str, asyncio.Lock] = {}
        volumes.restore = self._fetch

    def start(self) -> None:
        self._volumes.spawn(self._run())

    def agreed(self) -> None:
        """To be called after each batch, with the state's changes still there."""
        if any(
            change.table in ("volumes", "backup_targets", "contents")
            for change in self._volumes.state.changes
        ):
            self._wake.set()

    # -- by policy -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)
        while True:
            self._wake.clear()
            soonest = await self._make_due()
            try:
                async with asyncio.timeout(soonest):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _make_due(self) -> float:
        """Backs up what is due, one after the other; seconds until the next is."""
        soonest = _IDLE
        for volume in list(self._volumes.state.volumes.values()):
            if volume.node != self._volumes.node or volume.backup is None or volume.origin:
                continue
            wait = self._due(volume, volume.backup) - self._volumes.clock()
            if wait <= 0 and self._volumes.status(volume).path:
                try:
                    await self.back_up(volume, volume.backup)
                except (HivemindError, OSError) as error:
                    log.warning("the backup of volume %s failed: %s", volume.name, error)
                wait = self._due(volume, volume.backup) - self._volumes.clock()
            soonest = min(soonest, max(wait / 1000, 1.0))
        return soonest

    def _due(self, volume: Volume, policy: BackupPolicy) -> int:
        last = self._volumes.status(volume).backup
        if last is None or last.target != policy.target:
            return 0
        every = int(policy.every * 1000)
        return last.time + (min(every, _AGAIN) if last.error else every)

    # -- one -------------------------------------------------------------------------------------------------

    async def back_up(
        self, volume: Volume, policy: BackupPolicy, heard: Heard = lambda done: None, *, verify: bool = False
    ) -> BackupResult:
        """Raises what went wrong, which `status.backup` then tells as well."""
        began = self._volumes.clock()
        result = BackupResult(target=policy.target, time=began)
        try:
            target = find_target(self._volumes.state, volume.project, policy.target)
            async with self._locked(target):
                result = await self._store(volume, policy, target, result, heard, verify)
        except (HivemindError, OSError) as error:
            failed = replace(result, error=str(error))
            self._volumes.observe(volume, backup=failed)
            self._volumes.event(volume, "volume.backup-failed", str(error), warning=True)
            raise
        return result

    async def _store(
        self, volume: Volume, policy: BackupPolicy, target: BackupTarget, result: BackupResult, heard: Heard,
        verify: bool,
    ) -> BackupResult:  # fmt: skip
        from hivemind.drivers.volumes.restic import Labels

        repository = self._repository(target)
        await repository.open(make=True)
        async with self._volumes.frozen(volume, "backup") as (path, consistency):
            labels = Labels(
                hive=self._hive, project=volume.project, volume=volume.name, consistency=consistency,
                size=volume.size,
            )  # fmt: skip
            made = await repository.backup(path, labels, heard)
            seconds = (self._volumes.clock() - result.time) / 1000
            result = replace(result, id=made.id, added=made.added, consistency=consistency, seconds=seconds)
            self._volumes.observe(volume, backup=result, backed_up=result.time)
            self._volumes.event(volume, "volume.backed-up", f"{made.id[:8]} to {target.name} ({consistency})")
            if verify or self._should_verify(volume, policy):
                await self._verify(volume, repository, made.id, path)
        await repository.keep(labels, policy.keep)
        return result

    def _should_verify(self, volume: Volume, policy: BackupPolicy) -> bool:
        last = self._volumes.status(volume).verified
        return bool(policy.verify_every) and self._volumes.clock() >= last + policy.verify_every * 1000

    async def _verify(self, volume: Volume, repository: Repository, id: str, source: Path) -> None:
        """Restores it for real, and compares every file. Raises `Corrupt`."""
        from hivemind.drivers.volumes.restic import first_difference

        place = self._scratch / volume.id / "data"
        await asyncio.to_thread(shutil.rmtree, place.parent, ignore_errors=True)
        place.mkdir(parents=True, mode=0o700)
        try:
            await repository.restore(id, place)
            difference = await asyncio.to_thread(first_difference, source, place)
        finally:
            await asyncio.to_thread(shutil.rmtree, place.parent, ignore_errors=True)
        if difference:
            raise Corrupt(
                f"backup {id[:8]} is not what was backed up: {difference}",
                hint="look at the disk of the backup target, then back up again",
            )
        self._volumes.observe(volume, verified=self._volumes.clock())
        self._volumes.event(volume, "volume.backup-verified", f"{id[:8]} restored and found equal")

    # -- reading ---------------------------------------------------------------------------------------------

    async def list(self, target: BackupTarget, volume: str = "") -> list[Backup]:
        """What is there, by whichever hive; oldest first."""
        async with self._locked(target):
            repository = self._repository(target)
            await repository.open(make=False)
            tags = (f"project={target.project}", f"volume={volume}") if volume else ()
            return await repository.list(*tags)

    async def _fetch(self, volume: Volume, origin: Origin, place: Path) -> None:
        target = find_target(self._volumes.state, volume.project, origin.target)
        async with self._locked(target):
            repository = self._repository(target)
            await repository.open(make=False)
            await repository.restore(origin.id, place)

    def _repository(self, target: BackupTarget) -> Repository:
        from hivemind.drivers.volumes.restic import Repository

        held = self._secrets(target.project, target.secret)
        if not held.get(PASSWORD):
            raise Invalid(
                f"the secret {target.secret!r} has no key {PASSWORD}",
                hint=f"hivemind secret create {target.secret} --from-literal {PASSWORD}=…",
            )
        texts = {name: value.decode("utf-8", "replace").rstrip("\n") for name, value in held.items()}
        if target.location.startswith("s3:") and not (texts.get(ACCESS_KEY) and texts.get(SECRET_KEY)):
            raise Invalid(
                f"the secret {target.secret!r} lacks {ACCESS_KEY} or {SECRET_KEY}",
                hint="S3 needs both to sign in",
            )
        self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Repository(
            target.location, texts[PASSWORD],
            access_key=texts.get(ACCESS_KEY, ""), secret_key=texts.get(SECRET_KEY, ""), ca=texts.get(CA, ""),
            cache=self._cache,
        )  # fmt: skip

    def _locked(self, target: BackupTarget) -> asyncio.Lock:
        return self._busy.setdefault(target.location, asyncio.Lock())
