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
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.contract import OnProgress, PullProgress
from hivemind.errors import Invalid
from hivemind.model.image import Image

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

    async def pull(self, reference: str, on_progress: OnProgress | None = None) -> Image:
        """The image under this name: the one that is here, else fetched from its registry.

        Cancelling stops the transfer. Raises as `registry.pull`."""
        if here := self.store.find(reference):
            return here
        from hivemind.drivers.images.connection import RegistrySettings
        from hivemind.drivers.images.registry import pull

        loop, stopped = asyncio.get_running_loop(), threading.Event()

        def report(progress: PullProgress) -> None:
            if on_progress and not stopped.is_set():
                loop.call_soon_threadsafe(on_progress, progress)

        settings = self._registries or RegistrySettings()
        try:
            return await asyncio.to_thread(pull, self.store, reference, settings, report, stopped)
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
