"""Images of the node's own store, brought into containerd once each.

The store stays the one place where images are: what containerd gets are the unpacked layers (snapshots, named by
their chain ids), the manifest and the configuration. Those refer to each other by labels that containerd's garbage
collector follows, from an image record of this node on; the compressed layers are held only by the lease of the
import and go with it. An import that is cut off leaves nothing: its lease ends by itself, and a later one goes on
with the layers that are there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from hivemind.drivers.images.manifest import Descriptor, Manifest
from hivemind.drivers.runtimes.containerd import messages
from hivemind.drivers.runtimes.containerd.api import Api
from hivemind.drivers.runtimes.contract import OnProgress, PullPolicy
from hivemind.errors import Conflict, Corrupt, HivemindError, NotFound
from hivemind.model.image import Image

_CHUNK = 1 << 20
_LEASE_SECONDS = 3600
_log = logging.getLogger(__name__)


class Images(Protocol):
    """What this runtime asks of an image store."""

    on_removal: list[Callable[[], None]]

    def get(self, digest: str) -> Image:
        """Raises `NotFound`."""

    def manifest(self, digest: str) -> Manifest: ...

    def descriptor(self, digest: str) -> Descriptor: ...

    def blob_path(self, digest: str) -> Path: ...

    async def pull(
        self,
        reference: str,
        on_progress: OnProgress | None = None,
        *,
        policy: PullPolicy = "missing",
        unpack: bool = True,
    ) -> Image: ...


class Library:
    """`owner` tells this node's records from those of others in the same namespace."""

    def __init__(self, api: Api, images: Images, snapshotter: str, owner: str) -> None:
        self._api = api
        self._images = images
        self._snapshotter = snapshotter
        self._owner = owner
        self._chains: dict[str, str] = {}
        self._importing: dict[str, asyncio.Task[str]] = {}

    async def chain(self, digest: str) -> str:
        """The snapshot that holds the image's whole file system. Raises `NotFound`, `Unavailable`, `Corrupt`."""
        if digest in self._chains:
            return self._chains[digest]
        task = self._importing.get(digest)
        if task is None:
            task = self._importing[digest] = asyncio.ensure_future(self._import(digest))
            task.add_done_callback(lambda _: self._importing.pop(digest, None))
        return await asyncio.shield(task)

    def forget(self, digest: str) -> None:
        """Somebody else removed it from containerd: the next one who wants it imports it again."""
        self._chains.pop(digest, None)

    async def sweep(self) -> None:
        """At the start: lets containerd collect what cut-off imports left, and what `drop_removed` does."""
        leases = await self._api.call("leases.v1.Leases/List", filters=[])
        for lease in leases["leases"]:
            if lease["id"].startswith(f"{self._owner}-"):
                await self._quietly("leases.v1.Leases/Delete", id=lease["id"])
        await self.drop_removed()

    async def drop_removed(self) -> None:
        """Lets containerd collect the images that the store does not have any more. Containers keep their layers."""
        for image in (await self._api.call("images.v1.Images/List", filters=[]))["images"]:
            owner, _, digest = image["name"].partition("/")
            if owner == self._owner and not self._has(digest):
                self.forget(digest)
                await self._quietly("images.v1.Images/Delete", name=image["name"])

    async def destroy(self) -> None:
        """Removes every record of this node. Waits for containerd to collect what they held."""
        for image in (await self._api.call("images.v1.Images/List", filters=[]))["images"]:
            if image["name"].startswith(f"{self._owner}/"):
                await self._quietly("images.v1.Images/Delete", name=image["name"], sync=True)
        self._chains.clear()
        await self._api.call("leases.v1.Leases/Create", id=f"{self._owner}-last")
        await self._quietly("leases.v1.Leases/Delete", id=f"{self._owner}-last", sync=True)

    def _has(self, digest: str) -> bool:
        try:
            self._images.get(digest)
        except NotFound:
            return False
        return True

    async def _import(self, digest: str) -> str:
        image, manifest = self._images.get(digest), self._images.manifest(digest)
        async with self._lease() as lease:
            chain = ""
            for layer, diff_id in zip(manifest.layers, image.layers, strict=True):
                chain = await self._unpack(chain, layer, diff_id, lease)
            references = {f"containerd.io/gc.ref.snapshot.{self._snapshotter}": chain} if chain else {}
            await self._put(manifest.config, references, lease)
            target = self._images.descriptor(digest)
            await self._put(target, {"containerd.io/gc.ref.content.config": manifest.config.digest}, lease)
            record = {"name": f"{self._owner}/{digest}", "target": _descriptor(target)}
            try:
                await self._api.call("images.v1.Images/Create", image=record)
            except Conflict:  # it has it already
                pass
        self._chains[digest] = chain
        return chain

    async def _unpack(self, parent: str, layer: Descriptor, diff_id: str, lease: str) -> str:
        chain = _chain_id(parent, diff_id)
        at: dict[str, Any] = {"snapshotter": self._snapshotter}
        try:
            await self._api.call("snapshots.v1.Snapshots/Stat", **at, key=chain)
            return chain
        except NotFound:
            pass
        await self._put(layer, {}, lease)
        key = f"{self._owner}-unpacking-{secrets.token_hex(4)}-{chain}"
        prepared = await self._api.call(
            "snapshots.v1.Snapshots/Prepare", **at, key=key, parent=parent, lease=lease
        )
        try:
            done = await self._api.call(
                "diff.v1.Diff/Apply",
                diff=_descriptor(layer),
                mounts=prepared["mounts"],
                lease=lease,
                patient=True,
            )
            if done["applied"]["digest"] != diff_id:
                raise Corrupt(
                    f"layer {layer.digest} unpacks to {done['applied']['digest']}, not to {diff_id}"
                )
            await self._api.call("snapshots.v1.Snapshots/Commit", **at, name=chain, key=key, lease=lease)
        except HivemindError as error:
            await self._quietly("snapshots.v1.Snapshots/Remove", **at, key=key)
            if not isinstance(error, Conflict):  # somebody else unpacked it meanwhile
                raise
        return chain

    async def _put(self, blob: Descriptor, labels: dict[str, str], lease: str) -> None:
        """Into the content store, unless it is there."""
        try:
            await self._api.call("content.v1.Content/Info", digest=blob.digest, lease=lease)
            return
        except NotFound:
            pass
        reference = f"{self._owner}-{blob.digest}"
        await self._quietly("content.v1.Content/Abort", ref=reference)  # an earlier import was cut off
        writes = _writes(self._images.blob_path(blob.digest), blob, reference, labels)
        try:
            async for _ in self._api.exchange("content.v1.Content/Write", writes, lease=lease):
                pass
        except Conflict:  # it came there meanwhile
            pass

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[str]:
        """What is made under it is not collected while it lasts."""
        id = f"{self._owner}-{secrets.token_hex(8)}"
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + _LEASE_SECONDS))
        await self._api.call("leases.v1.Leases/Create", id=id, labels={"containerd.io/gc.expire": until})
        try:
            yield id
        finally:
            await self._quietly("leases.v1.Leases/Delete", id=id)

    async def _quietly(self, method: str, **fields: Any) -> None:
        """What is gone already need not be removed, and what cannot be now is by the next sweep."""
        try:
            await self._api.call(method, **fields)
        except NotFound:
            pass
        except HivemindError as error:
            _log.warning("containerd: %s: %s", method, error)


async def _writes(
    path: Path, blob: Descriptor, reference: str, labels: dict[str, str]
) -> AsyncIterator[dict[str, Any]]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        offset = 0
        while offset < blob.size or not blob.size:
            data = await asyncio.to_thread(os.pread, fd, _CHUNK, offset)
            if not data and blob.size:
                raise Corrupt(f"the blob {blob.digest} of this node's store is too short")
            last = offset + len(data) >= blob.size
            yield {
                "action": messages.COMMIT if last else messages.WRITE,
                "ref": reference,
                "total": blob.size,
                "expected": blob.digest,
                "offset": offset,
                "data": data,
                "labels": labels,
            }
            offset += len(data)
            if last:
                return
    finally:
        os.close(fd)


def _chain_id(parent: str, diff_id: str) -> str:
    """The name of a stack of layers, as the OCI image specification defines it."""
    return f"sha256:{hashlib.sha256(f'{parent} {diff_id}'.encode()).hexdigest()}" if parent else diff_id


def _descriptor(blob: Descriptor) -> dict[str, Any]:
    return {"media_type": blob.media_type, "digest": blob.digest, "size": blob.size}
