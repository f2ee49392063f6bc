"""Volumes on an NFS server: each is a directory below what the server exports, laid out as on a local disk.

Any node may use them. Limits and snapshots are the server's business.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hivemind.drivers.volumes.commands import Failed, find, run
from hivemind.drivers.volumes.contract import Consistency, Fill, Real, Wanted
from hivemind.drivers.volumes.local import LocalDriver
from hivemind.drivers.volumes.mounts import mounted_at, mounted_below
from hivemind.errors import NotFound, Unavailable, Unsupported

_OPTIONS = "nodev,nosuid"
_NAME = "hivemind"
"""The directory of the export that is ours."""


class NfsDriver:
    """Mounts an export when its first volume is asked for, and keeps it."""

    name = "nfs"

    def __init__(self, root: Path, node: str, *, filesystems: Path = Path("/proc/filesystems")) -> None:
        """`node` keeps apart what several nodes are making on one server."""
        self._root = root.absolute()
        self._node = node[:16]
        self._filesystems = filesystems
        self._exports: dict[Path, LocalDriver] = {}
        self._snapshots: dict[str, LocalDriver] = {}

    async def open(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def close(self) -> None:
        pass

    async def destroy(self) -> None:
        """Lets go of the servers. What is there stays: other nodes may be using it."""
        for mounted in reversed(mounted_below(self._root)):
            await run("umount", "--lazy", str(mounted.point))
        if self._root.exists():
            for point in self._root.iterdir():
                point.rmdir()
            self._root.rmdir()

    async def find(self, wanted: Wanted) -> Real | None:
        return await (await self._export(wanted)).find(wanted)

    async def make(self, wanted: Wanted, fill: Fill | None = None) -> Real:
        if wanted.size:
            raise Unsupported("the driver nfs cannot limit a volume", hint="set a quota on the server")
        return await (await self._export(wanted)).make(wanted, fill)

    async def resize(self, wanted: Wanted, *, busy: bool) -> Real:
        raise Unsupported("the driver nfs cannot limit a volume", hint="set a quota on the server")

    async def seeded(self, wanted: Wanted) -> None:
        await (await self._export(wanted)).seeded(wanted)

    async def used(self, wanted: Wanted) -> int:
        return await (await self._export(wanted)).used(wanted)

    async def erase(self, wanted: Wanted) -> None:
        await (await self._export(wanted)).erase(wanted)

    async def snapshot(self, wanted: Wanted, snapshot: str, *, busy: bool) -> Consistency:
        export = self._snapshots[snapshot] = await self._export(wanted)
        return await export.snapshot(wanted, snapshot, busy=busy)

    async def has_snapshot(self, snapshot: str) -> bool:
        return snapshot in self._snapshots and await self._snapshots[snapshot].has_snapshot(snapshot)

    async def snapshot_used(self, snapshot: str) -> int:
        return await self._of(snapshot).snapshot_used(snapshot)

    async def erase_snapshot(self, snapshot: str) -> None:
        """Those are for the time of a backup only, so nothing is known of them after a restart but by the sweep."""
        export = self._snapshots.pop(snapshot, None)
        if export:
            await export.erase_snapshot(snapshot)

    @asynccontextmanager
    async def view(self, snapshot: str) -> AsyncIterator[Path]:
        async with self._of(snapshot).view(snapshot) as path:
            yield path

    def _of(self, snapshot: str) -> LocalDriver:
        if snapshot not in self._snapshots:
            raise NotFound("the snapshot is not here (any more)")
        return self._snapshots[snapshot]

    async def _export(self, wanted: Wanted) -> LocalDriver:
        point = self._root / _fingerprint(wanted.parameters)
        if point not in self._exports or not mounted_at(point):
            await self._mount(point, wanted.parameters)
            export = LocalDriver(point / _NAME, maker=self._node)
            await export.open()
            self._exports[point] = export
        return self._exports[point]

    async def _mount(self, point: Path, parameters: dict[str, str]) -> None:
        if mounted_at(point):
            return
        find("mount.nfs")
        await self._need_client()
        point.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            await run("mount", *mount_words(parameters, point))
        except Failed as error:
            raise Unavailable(
                f"{parameters['server']}:{parameters['path']} cannot be mounted: {error.said}",
                hint="does the server answer, and may this node mount it? showmount -e SERVER",
            ) from error

    async def _need_client(self) -> None:
        if self._has_client():
            return
        try:
            await run("modprobe", "nfs")
        except (Failed, Unsupported):
            pass
        if not self._has_client():
            raise Unsupported(
                "this kernel has no NFS client",
                hint="install a kernel with it (CONFIG_NFS_FS), then: modprobe nfs",
            )

    def _has_client(self) -> bool:
        return bool({"nfs", "nfs4"} & set(self._filesystems.read_text().split()))


def mount_words(parameters: dict[str, str], point: Path) -> tuple[str, ...]:
    """The arguments of mount(8)."""
    server = parameters["server"]
    if ":" in server and not server.startswith("["):
        server = f"[{server}]"
    options = ",".join(filter(None, (_OPTIONS, parameters.get("options", ""))))
    return ("-t", "nfs", "-o", options, f"{server}:{parameters['path']}", str(point))


def _fingerprint(parameters: dict[str, str]) -> str:
    text = "\n".join(parameters.get(name, "") for name in ("server", "path", "options"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
