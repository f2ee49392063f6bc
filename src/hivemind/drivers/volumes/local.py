"""Volumes on the node's own disk: a directory, or with a limit a file system in a file.

volumes/<id>/volume.json    which content, how large, whether it was handed out
volumes/<id>/data           its files; where the disk is mounted
volumes/<id>/disk.img       of a volume with a limit
snapshots/<id>/…            the same of a moment that is over
new/…, old/<id>             being made, being replaced: a crash leaves the one or brings back the other
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from hivemind.drivers.volumes import disk
from hivemind.drivers.volumes.commands import Failed, run
from hivemind.drivers.volumes.contract import PASSING, Consistency, Fill, Real, Wanted
from hivemind.drivers.volumes.links import unfollowed
from hivemind.drivers.volumes.mounts import mounted_below
from hivemind.errors import Conflict, NotFound, Unavailable
from hivemind.model.base import decode, encode


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a volume's own record says."""

    content: int = 1
    size: int = 0
    seeded: bool = False


class LocalDriver:
    name = "local"

    def __init__(self, root: Path, maker: str = "") -> None:
        """`maker` keeps apart what several nodes make on storage that they share."""
        self._root = root.absolute()
        self._volumes = self._root / "volumes"
        self._snapshots = self._root / "snapshots"
        self._new = self._root / "new" / maker
        self._old = self._root / "old" / maker
        self._count = 0

    # -- life ------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        for directory in (self._root, self._volumes, self._snapshots, self._new, self._old):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for directory in self._old.iterdir():
            if not (self._volumes / directory.name).exists():
                directory.rename(self._volumes / directory.name)
        for directory in (*self._new.iterdir(), *self._old.iterdir()):
            await _remove(directory)
        for mounted in mounted_below(self._volumes):
            await disk.thaw(mounted.point)

    async def close(self) -> None:
        pass

    async def destroy(self) -> None:
        if self._root.exists():
            await _remove(self._root)

    # -- volumes ---------------------------------------------------------------------------------------------

    async def find(self, wanted: Wanted) -> Real | None:
        home = self._volumes / wanted.id
        kept = _kept(home)
        if kept is None:
            return None
        if kept.size:
            await disk.mount(home / "disk.img", home / "data")
        return Real(path=home / "data", content=kept.content, size=kept.size, seeded=kept.seeded)

    async def make(self, wanted: Wanted, fill: Fill | None = None) -> Real:
        home = await self._prepare(wanted)
        try:
            if fill:
                await fill(home / "data")
            # What came with an owner keeps it.
            seeded = fill is not None and os.stat(home / "data").st_uid != 0
            kept = Kept(content=wanted.content, size=wanted.size, seeded=seeded)
            _write(home, kept)
            await run("sync", "--file-system", str(home / "data"))
            await disk.unmount(home / "data")
            await self._settle(home, self._volumes / wanted.id)
        except BaseException:
            await _remove(home)
            raise
        found = await self.find(wanted)
        assert found, "it was just made"
        return found

    async def _prepare(self, wanted: Wanted) -> Path:
        """A new and empty volume, aside."""
        home = self._aside()
        try:
            (home / "data").mkdir(mode=0o755)
            if wanted.size:
                await disk.make(home / "disk.img", wanted.size)
                await disk.mount(home / "disk.img", home / "data")
            os.chmod(home / "data", 0o755)
        except OSError as error:
            await _remove(home)
            raise Unavailable(f"the volume cannot be made: {error.strerror}") from error
        except BaseException:
            await _remove(home)
            raise
        return home

    async def resize(self, wanted: Wanted, *, busy: bool) -> Real:
        home = self._volumes / wanted.id
        kept = self._must(home, wanted.id)
        if not kept.size or not wanted.size:
            raise Conflict("a limit cannot be given or taken", hint="copy the volume: hivemind volume clone")
        if kept.size < wanted.size and disk.grows_online():
            await self.find(wanted)
            await disk.grow(home / "disk.img", home / "data", wanted.size)
            _write(home, msgspec.structs.replace(kept, size=wanted.size))
        elif kept.size != wanted.size:
            if busy:
                raise Conflict(
                    "the size cannot change while the volume is used: the daemon lacks CAP_SYS_RESOURCE",
                    hint="stop the app, and it is done at once",
                )
            await self._refit(home, kept, wanted.size)
        found = await self.find(wanted)
        assert found
        return found

    async def _refit(self, home: Path, kept: Kept, size: int) -> None:
        """On a copy: a file system that is half moved is no file system."""
        aside = self._aside()
        try:
            (aside / "data").mkdir(mode=0o755)
            await self._copy_disk(home, aside)
            await disk.refit(aside / "disk.img", size)
            _write(aside, msgspec.structs.replace(kept, size=size))
            await run("sync", "--file-system", str(aside))
            await self._settle(aside, home)
        except BaseException:
            await _remove(aside)
            raise

    async def _copy_disk(self, home: Path, aside: Path) -> None:
        """Frozen also if nobody writes: what is still in memory is in the copy, and it mounts without a repair."""
        await disk.mount(home / "disk.img", home / "data")
        await disk.copy_frozen(home / "disk.img", home / "data", aside / "disk.img")

    async def seeded(self, wanted: Wanted) -> None:
        home = self._volumes / wanted.id
        kept = self._must(home, wanted.id)
        _write(home, msgspec.structs.replace(kept, seeded=True))

    async def used(self, wanted: Wanted) -> int:
        home = self._volumes / wanted.id
        kept = self._must(home, wanted.id)
        if kept.size:
            return disk.used(home / "data")
        return await _space(home / "data")

    async def erase(self, wanted: Wanted) -> None:
        await self._discard(self._volumes / wanted.id)

    # -- snapshots -------------------------------------------------------------------------------------------

    async def snapshot(self, wanted: Wanted, snapshot: str, *, busy: bool) -> Consistency:
        source = self._volumes / wanted.id
        kept = self._must(source, wanted.id)
        aside = self._aside()
        try:
            if kept.size:
                (aside / "data").mkdir()
                await self._copy_disk(source, aside)
            else:
                await copy_tree(source / "data", aside / "data")
            _write(aside, kept)
            await run("sync", "--file-system", str(aside))
            await self._settle(aside, self._place_of(snapshot))
        except BaseException:
            await _remove(aside)
            raise
        return "stopped" if not busy else "crash" if kept.size else "live"

    async def has_snapshot(self, snapshot: str) -> bool:
        return _kept(self._place_of(snapshot)) is not None

    async def snapshot_used(self, snapshot: str) -> int:
        return await _space(self._place_of(snapshot))

    async def erase_snapshot(self, snapshot: str) -> None:
        await self._discard(self._place_of(snapshot))

    @asynccontextmanager
    async def view(self, snapshot: str) -> AsyncIterator[Path]:
        home = self._place_of(snapshot)
        kept = _kept(home)
        if kept is None:
            raise NotFound("the snapshot is not here (any more)", hint="hivemind volume snapshots shows them")
        if not kept.size:
            yield home / "data"
            return
        # A mount of its own for each reader, swept away with all else that is aside.
        aside = self._aside()
        try:
            (aside / "data").mkdir()
            await disk.mount(home / "disk.img", aside / "data", readonly=True)
            yield aside / "data"
        finally:
            await asyncio.shield(_remove(aside))

    # -- places ----------------------------------------------------------------------------------------------

    def _place_of(self, snapshot: str) -> Path:
        """A passing one is with what is aside: swept away at the next start."""
        return (self._new if snapshot.startswith(PASSING) else self._snapshots) / snapshot

    def _aside(self) -> Path:
        self._count += 1
        path = self._new / f"{os.getpid()}-{self._count}"
        path.mkdir(mode=0o700)
        return path

    async def _settle(self, aside: Path, place: Path) -> None:
        """Puts it in place, instead of what is there."""
        if place.exists():
            await disk.unmount(place / "data")
            old = self._old / place.name
            await _remove(old)
            place.rename(old)
            aside.rename(place)
            await _remove(old)
        else:
            aside.rename(place)

    async def _discard(self, place: Path) -> None:
        if place.exists():
            aside = self._aside()
            place.rename(aside / "gone")
            await _remove(aside)

    def _must(self, home: Path, id: str) -> Kept:
        kept = _kept(home)
        if kept is None:
            raise NotFound(f"volume {id} is not on this node")
        return kept


def _kept(home: Path) -> Kept | None:
    try:
        return decode((home / "volume.json").read_bytes(), Kept)
    except FileNotFoundError:
        return None


def _write(home: Path, kept: Kept) -> None:
    new = home / "volume.json.new"
    with new.open("wb") as file:
        file.write(encode(kept))
        file.flush()
        os.fsync(file.fileno())
    new.rename(home / "volume.json")


async def copy_tree(source: Path, target: Path) -> None:
    """Everything: owners, times, links, holes, extended attributes. `target` may be there, and gets the owner and
    mode of `source` as well. Blocks are shared where the file system can."""
    target.mkdir(exist_ok=True)
    try:
        with unfollowed(source) as still:
            await run("cp", "--archive", "--reflink=auto", "--sparse=auto", f"{still}/.", str(target))
    except Failed as error:
        if not _only_vanished(error.said):
            raise


def _only_vanished(said: str) -> bool:
    """Files that somebody removed while the others were copied are no reason to give up."""
    complaints = said.split("cp: ")[1:]
    return bool(complaints) and all(c.strip().endswith("No such file or directory") for c in complaints)


async def _space(path: Path) -> int:
    said = await run("du", "--summarize", "--block-size=1", "--one-file-system", str(path), accept=(0, 1))
    return int(said.split()[0]) if said else 0


async def _remove(directory: Path) -> None:
    """With whatever is mounted below. Nothing behind a mount is ever removed."""
    for mounted in reversed(mounted_below(directory)):
        await run("umount", "--lazy", str(mounted.point))
    if left := mounted_below(directory):
        raise Unavailable(f"{left[0].point} is still mounted")
    await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=False) if directory.exists() else None
