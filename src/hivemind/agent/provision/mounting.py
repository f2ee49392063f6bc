"""Volumes, the node's own paths and memory, as containers get them: a `Provider`.

A sub-path is opened below the volume, link by link, by the kernel, and what was opened is mounted at
`<run dir>/volumes/<allocation>/<place>`: whatever the container puts there afterwards, that is what it gets.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hivemind.agent.provision.contract import Provision
from hivemind.agent.provision.volumes import Volumes
from hivemind.drivers.runtimes.contract import Mount
from hivemind.drivers.runtimes.oci import kernel
from hivemind.drivers.volumes.contract import Real
from hivemind.drivers.volumes.links import unfollowed
from hivemind.drivers.volumes.mounts import mounted_at, mounted_below
from hivemind.drivers.volumes.seeding import open_subpath, seed
from hivemind.errors import NotFound, Unavailable
from hivemind.model.allocation import Allocation
from hivemind.model.app import AppSpec
from hivemind.model.image import Image
from hivemind.model.mount import BindMount, TmpfsMount, VolumeMount
from hivemind.model.names import derive_id
from hivemind.model.template import ContainerTemplate
from hivemind.model.volume import key, name_of

_PATIENCE = 5.0
"""Seconds that a starting replica waits for a volume that is just being worked on."""


class Images(Protocol):
    def find(self, reference: str) -> Image | None: ...

    def layers(self, digest: str) -> Sequence[Path]:
        """Unpacked directories, lowest first. May block."""


class Mounting:
    def __init__(self, volumes: Volumes, images: Images, run_dir: Path) -> None:
        self._volumes = volumes
        self._images = images
        self._places = run_dir.absolute() / "volumes"

    async def provide(
        self, allocation: Allocation, spec: AppSpec, template: ContainerTemplate, user: str
    ) -> Provision:
        mounts = []
        for mount in template.mounts:
            if isinstance(mount, VolumeMount):
                mounts.append(await self._volume(allocation, template, mount, user))
            elif isinstance(mount, BindMount):
                mounts.append(await self._bind(mount))
            elif isinstance(mount, TmpfsMount):
                mounts.append(Mount(target=mount.target, size=mount.size, mode=mount.mode))
        return Provision(mounts=tuple(mounts))

    async def release(self, allocation: str) -> None:
        await asyncio.to_thread(_clear, self._places / allocation)

    async def prune(self, keep: set[str]) -> None:
        if self._places.is_dir():
            for place in self._places.iterdir():
                if place.name not in keep:
                    await self.release(place.name)

    # -- volumes ---------------------------------------------------------------------------------------------

    async def _volume(
        self, allocation: Allocation, template: ContainerTemplate, mount: VolumeMount, user: str
    ) -> Mount:
        name = name_of(mount, allocation.slot)
        volume = self._volumes.state.volumes.get(key(allocation.project, name))
        if volume is None:
            raise Unavailable(f"volume {name!r} was removed", hint=f"hivemind volume create {name}")
        async with self._volumes.locked(volume.id, _PATIENCE):
            real, driver, wanted = await self._volumes.use(volume)
            if not real.seeded:
                await self._seed(real.path, template, mount.target, user)
                await driver.seeded(wanted)
            source = real.path
            if mount.subpath:
                source = await self._subpath(allocation, volume.id, real, template, mount, user)
        return Mount(target=mount.target, source=str(source), readonly=mount.readonly, idmap=True)

    async def _seed(self, place: Path, template: ContainerTemplate, target: str, user: str) -> None:
        image = self._images.find(template.image) if template.image else None
        layers: Sequence[Path] = ()
        if image:
            layers = await asyncio.to_thread(self._images.layers, image.digest)
        scratch = self._places / f".seed-{os.urandom(6).hex()}"
        scratch.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        await seed(place, layers, target, user, scratch)

    async def _subpath(
        self, allocation: Allocation, volume: str, real: Real, template: ContainerTemplate, mount: VolumeMount,
        user: str,
    ) -> Path:  # fmt: skip
        assert mount.subpath
        place = self._places / allocation.id / derive_id(volume, mount.subpath)
        fd, made = await asyncio.to_thread(open_subpath, real.path, mount.subpath)
        try:
            if made:
                with unfollowed(Path(f"/proc/{os.getpid()}/fd/{fd}")) as fresh:
                    await self._seed(fresh, template, mount.target, user)
            await asyncio.to_thread(_pin, fd, place)
        finally:
            os.close(fd)
        return place

    # -- the node's own --------------------------------------------------------------------------------------

    async def _bind(self, mount: BindMount) -> Mount:
        if not await asyncio.to_thread(os.path.exists, mount.source):
            raise NotFound(
                f"the node has no {mount.source} to mount",
                hint="make it there first, or use a volume by name",
            )
        return Mount(target=mount.target, source=mount.source, readonly=mount.readonly)


def forget_places(run_dir: Path) -> None:
    """Of every allocation."""
    places = run_dir.absolute() / "volumes"
    if places.is_dir():
        for place in places.iterdir():
            _clear(place)
        places.rmdir()


def _pin(fd: int, place: Path) -> None:
    """Keeps what is open reachable by a path that nobody inside can touch."""
    if mounted_at(place):
        return
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    tree = kernel.clone_tree(f"/proc/self/fd/{fd}")
    try:
        kernel.attach_tree(tree, str(place))
    finally:
        os.close(tree)


def _clear(directory: Path) -> None:
    if not directory.exists():
        return
    for mounted in reversed(mounted_below(directory)):
        kernel.umount(str(mounted.point))
    # Never a whole tree: behind a mount that is left over are somebody's files.
    for place in directory.iterdir():
        place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()
    directory.rmdir()
