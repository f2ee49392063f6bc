"""What a runtime needs of images: pull, load, look up, stack. Nothing here blocks the event loop."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from hivemind.drivers.images.blobs import disk_errors, write_all
from hivemind.drivers.images.manifest import Descriptor, Manifest
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.contract import OnProgress, PullPolicy, PullProgress
from hivemind.errors import Invalid, NotFound
from hivemind.model.image import Image, parse_reference

if TYPE_CHECKING:
    from hivemind.drivers.images.connection import RegistrySettings


class Images:
    """The store behind an asynchronous face. HTTP and TLS are imported with the first pull, not before."""

    def __init__(self, store: ImageStore, registries: RegistrySettings | None = None) -> None:
        self.store = store
        self._registries = registries

    async def open(self) -> None:
        await asyncio.to_thread(self.store.open)

    def get(self, digest: str) -> Image:
        """Raises `NotFound`."""
        return self.store.get(digest)

    def find(self, reference: str) -> Image | None:
        return self.store.find(reference)

    def layers(self, digest: str) -> tuple[Path, ...]:
        """Unpacked directories, lowest first."""
        return tuple(self.store.layers(digest))

    def manifest(self, digest: str) -> Manifest:
        """Of an image that is here: the descriptors of its configuration and layers, lowest first."""
        return self.store.manifest(digest)

    def descriptor(self, digest: str) -> Descriptor:
        """Media type, digest and size of an image's manifest. Raises `NotFound`."""
        return self.store.descriptor(digest)

    def blob_path(self, digest: str) -> Path:
        """The file of a manifest, configuration or layer (as it came, perhaps compressed)."""
        return self.store.blobs.path(digest)

    async def export(self, *images: str) -> AsyncIterator[bytes]:
        """Images by digest as one archive that is both an OCI layout and what `docker load` reads.

        Nothing is collected while it is read. Raises `NotFound`."""
        from hivemind.drivers.images.export import archive

        with self.store.arriving():
            pieces = archive(self.store, images)
            while piece := await asyncio.to_thread(next, pieces, None):
                yield piece

    async def pull(
        self,
        reference: str,
        on_progress: OnProgress | None = None,
        *,
        policy: PullPolicy = "missing",
        unpack: bool = True,
    ) -> Image:
        """The image under this name: the one that is here, else fetched from its registry; with `always` the
        registry is asked first, with `never` not at all. `unpack` readies its layers for being stacked.

        Cancelling stops the transfer. Raises `NotFound` and as `registry.pull`."""
        here = self.store.find(reference)
        if here and not (policy == "always" and not parse_reference(reference).digest):
            if unpack and not self.store.unpacked(here.digest):
                await asyncio.to_thread(self.store.layers, here.digest)
            return here
        if policy == "never":
            raise NotFound(
                f"this node has no image {reference}, and it is never to be pulled",
                hint="pull or load it first, or let it be pulled: --pull missing",
            )
        from hivemind.drivers.images.connection import RegistrySettings
        from hivemind.drivers.images.registry import pull

        loop, stopped = asyncio.get_running_loop(), threading.Event()

        def report(progress: PullProgress) -> None:
            if on_progress and not stopped.is_set():
                loop.call_soon_threadsafe(on_progress, progress)

        settings = self._registries or RegistrySettings()
        try:
            return await asyncio.to_thread(
                pull, self.store, reference, settings, report, stopped, unpack=unpack
            )
        finally:
            stopped.set()

    async def load(self, chunks: AsyncIterator[bytes]) -> list[Image]:
        """All images of a `docker save` or OCI archive that arrives in pieces. Raises as `archive.load`."""
        from hivemind.drivers.images.archive import load

        with disk_errors("the archive", self.store.root):
            fd, name = tempfile.mkstemp(dir=self.store.blobs.incoming)
        try:
            with os.fdopen(fd, "wb") as spool:
                async for chunk in chunks:
                    await asyncio.to_thread(self._spool, spool.fileno(), chunk)
            if not os.path.getsize(name):
                raise Invalid("the archive is empty", hint="send what `docker save` writes")
            return await asyncio.to_thread(load, self.store, Path(name))
        finally:
            os.unlink(name)

    def _spool(self, fd: int, chunk: bytes) -> None:
        with disk_errors("the archive", self.store.root):
            write_all(fd, chunk)

    async def remove(self, reference: str, keep: frozenset[str] = frozenset()) -> int:
        return await asyncio.to_thread(self.store.remove, reference, keep)

    async def prune(self, keep: frozenset[str]) -> int:
        return await asyncio.to_thread(self.store.prune, keep)

    def list(self) -> list[Image]:
        return self.store.list()
