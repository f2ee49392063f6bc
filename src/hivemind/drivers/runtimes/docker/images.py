"""The node's images in the engine: loaded there when a container needs one, and taken out again after it.

The node's own store is the only truth. What is loaded is known by its configuration's digest, so a copy that the
engine has already, from whomever, is used as it is. Ours bear a name of ours, `hivemind-<owner>:<hex>`, and only that
name is ever removed: an image that somebody else names or runs stays.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from typing import Any, Protocol

import msgspec

from hivemind.drivers.images.manifest import Manifest
from hivemind.drivers.runtimes.contract import OnProgress, PullPolicy
from hivemind.drivers.runtimes.docker.container import filters
from hivemind.drivers.runtimes.docker.engine import Engine
from hivemind.errors import Conflict, NotFound, Unavailable
from hivemind.model.image import Image


class Store(Protocol):
    """What this runtime asks of the node's image store."""

    def get(self, digest: str) -> Image:
        """Raises `NotFound`."""

    def manifest(self, digest: str) -> Manifest: ...

    def export(self, *images: str, names: Collection[str] | None = None) -> AsyncIterator[bytes]:
        """As one archive that `docker load` reads, which tells these of the images' names; None: all."""

    async def pull(
        self,
        reference: str,
        on_progress: OnProgress | None = None,
        *,
        policy: PullPolicy = "missing",
        unpack: bool = True,
    ) -> Image: ...


class _Rootfs(msgspec.Struct, frozen=True, rename="pascal"):
    layers: tuple[str, ...] | None = None


class _Found(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    rootfs: _Rootfs = msgspec.field(name="RootFS", default=_Rootfs())


class _Listed(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    repo_tags: tuple[str, ...] | None = None


class LoadedImages:
    def __init__(self, engine: Engine, store: Store, owner: str) -> None:
        self._engine = engine
        self._store = store
        self._repository = f"hivemind-{owner}"
        self._loading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._there: dict[str, str] = {}

    async def ensure(self, digest: str) -> str:
        """The engine's id of the image. Raises `NotFound` when this node does not hold it, `Unavailable`."""
        if known := self._there.get(digest):
            return known
        image = self._store.get(digest)
        ids = (
            self._store.manifest(digest).config.digest,
            digest,
        )  # engines name images by the one or the other
        async with self._loading[digest]:
            found = await self._find(image, ids)
            if found is None:
                await self._load(digest)
                found = await self._find(image, ids)
            if found is None:
                raise Unavailable(
                    f"docker took image {digest} in but does not know it",
                    hint="the engine's own log may say more",
                )
            await self._name(found, digest)
            self._there[digest] = found
        return found

    def forget(self, digest: str) -> None:
        """Somebody may have removed it from the engine."""
        self._there.pop(digest, None)

    async def sweep(self, needed: Collection[str]) -> None:
        """Takes our names away from the images that are not `needed`; the engine drops those without another."""
        listed = await self._engine.call(
            "GET",
            "/images/json",
            type=tuple[_Listed, ...],
            query={"filters": filters(reference=f"{self._repository}:*")},
        )
        mine = {
            tag for image in listed for tag in image.repo_tags or () if tag.startswith(f"{self._repository}:")
        }
        self._there = {digest: id for digest, id in self._there.items() if digest in needed}
        for tag in sorted(mine - {self._tag(digest) for digest in needed}):
            try:
                await self._engine.call("DELETE", f"/images/{tag}")
            except (NotFound, Conflict):
                pass  # somebody was faster, or somebody else's container runs it

    async def _find(self, image: Image, ids: Collection[str]) -> str | None:
        for id in ids:
            try:
                found = await self._engine.call("GET", f"/images/{id}/json", type=_Found)
            except NotFound:
                continue
            if found.id in ids and tuple(found.rootfs.layers or ()) == image.layers:
                return str(found.id)
        return None

    async def _load(self, digest: str) -> None:
        archive = self._store.export(digest, names=())
        headers = {"Content-Type": "application/x-tar"}
        async with self._engine.stream(
            "POST", "/images/load", archive, headers=headers, query={"quiet": 1}
        ) as response:
            for said in (await response.read()).splitlines():
                progress: Any = msgspec.json.decode(said) if said.strip() else {}
                if problem := progress.get("error"):
                    raise Unavailable(f"docker could not take in image {digest}: {problem}")

    async def _name(self, id: str, digest: str) -> None:
        await self._engine.call(
            "POST", f"/images/{id}/tag", query={"repo": self._repository, "tag": digest.partition(":")[2]}
        )

    def _tag(self, digest: str) -> str:
        return f"{self._repository}:{digest.partition(':')[2]}"
