"""A driver for tests: plain directories, no tools, no root. It keeps to the contract in all but limits' enforcement."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hivemind.drivers.volumes.contract import Consistency, Fill, Real, Wanted
from hivemind.errors import Conflict, HivemindError, NotFound


class FakeDriver:
    name = "local"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real: dict[str, Real] = {}
        self._snapshots: dict[str, Path] = {}
        self.trouble: HivemindError | None = None
        """Raised instead of making or resizing anything."""
        self.erased: list[str] = []

    async def open(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)

    async def close(self) -> None:
        pass

    async def destroy(self) -> None:
        shutil.rmtree(self._root)
        self._real.clear()
        self._snapshots.clear()

    async def find(self, wanted: Wanted) -> Real | None:
        return self._real.get(wanted.id)

    async def make(self, wanted: Wanted, fill: Fill | None = None) -> Real:
        self._fail()
        path, aside = self._root / wanted.id, self._root / f"new-{wanted.id}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            if fill:
                await fill(aside)
        except BaseException:
            shutil.rmtree(aside)
            raise
        shutil.rmtree(path, ignore_errors=True)
        aside.rename(path)
        real = Real(path=path, content=wanted.content, size=wanted.size, seeded=False)
        self._real[wanted.id] = real
        return real

    async def resize(self, wanted: Wanted, *, busy: bool) -> Real:
        self._fail()
        old = self._must(wanted)
        if not old.size or not wanted.size:
            raise Conflict("a limit cannot be given or taken")
        if wanted.size < old.size and (busy or await self.used(wanted) > wanted.size):
            raise Conflict("it does not fit")
        return self._save(wanted.id, size=wanted.size)

    async def seeded(self, wanted: Wanted) -> None:
        self._must(wanted)
        self._save(wanted.id, seeded=True)

    async def used(self, wanted: Wanted) -> int:
        return sum(p.stat().st_size for p in self._must(wanted).path.rglob("*") if p.is_file())

    async def erase(self, wanted: Wanted) -> None:
        if real := self._real.pop(wanted.id, None):
            shutil.rmtree(real.path)
            self.erased.append(wanted.id)

    async def snapshot(self, wanted: Wanted, snapshot: str, *, busy: bool) -> Consistency:
        self._fail()
        path = self._root / f"snapshot-{snapshot}"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self._must(wanted).path, path)
        self._snapshots[snapshot] = path
        return "stopped" if not busy else "crash" if self._must(wanted).size else "live"

    async def has_snapshot(self, snapshot: str) -> bool:
        return snapshot in self._snapshots

    async def snapshot_used(self, snapshot: str) -> int:
        return sum(p.stat().st_size for p in self._snapshots[snapshot].rglob("*") if p.is_file())

    async def erase_snapshot(self, snapshot: str) -> None:
        if path := self._snapshots.pop(snapshot, None):
            shutil.rmtree(path)
            self.erased.append(snapshot)

    @asynccontextmanager
    async def view(self, snapshot: str) -> AsyncIterator[Path]:
        if snapshot not in self._snapshots:
            raise NotFound("there is no such snapshot")
        yield self._snapshots[snapshot]

    def _must(self, wanted: Wanted) -> Real:
        if wanted.id not in self._real:
            raise NotFound("there is no such volume")
        return self._real[wanted.id]

    def _save(self, id: str, *, size: int | None = None, seeded: bool | None = None) -> Real:
        old = self._real[id]
        new = Real(
            path=old.path,
            content=old.content,
            size=old.size if size is None else size,
            seeded=old.seeded if seeded is None else seeded,
        )
        self._real[id] = new
        return new

    def _fail(self) -> None:
        if self.trouble:
            raise self.trouble
