"""What a runtime needs of images: pull, load, look up, stack. Nothing here blocks the event loop."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

from hivemind.drivers.images.access import Access, Keyring, anonymous
from hivemind.drivers.images.blobs import NoRoom, disk_errors, write_all
from hivemind.drivers.images.manifest import Descriptor, Manifest, Platform
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.images.uploads import Uploads
from hivemind.drivers.runtimes.contract import OnProgress, PullPolicy, PullProgress
from hivemind.errors import Invalid, NotFound
from hivemind.model.image import Image, parse_reference


class Images:
    """The store behind an asynchronous face. HTTP and TLS are imported with the first pull, not before."""

    def __init__(self, store: ImageStore, keyring: Keyring = anonymous) -> None:
        self.store = store
        self.keyring = keyring
        """How registries are reached; the daemon gives the hive's once it knows it."""
        self.unpacks = True
        """Whether images are readied for being stacked when they come; engines of their own unpack themselves."""
        self.uploads = Uploads(store)
        self.make_room: Callable[[NoRoom], Awaitable[bool]] = _no_more_room
        """Asked when the disk has no room; True: trying again may help."""
        self.on_arrival: Callable[[], None] = lambda: None
        """Told after each image that came."""
        self.on_removal: list[Callable[[], None]] = []
        """Told after images went: engines may hold copies."""

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

    async def export(self, *images: str, names: Iterable[str] | None = None) -> AsyncIterator[bytes]:
        """Images by digest as one archive that is both an OCI layout and what `docker load` reads. `names`: which
        of their names it tells; None: all of them.

        Nothing is collected while it is read. Raises `NotFound`."""
        from hivemind.drivers.images.export import archive

        with self.store.arriving():
            pieces = archive(self.store, images, names)
            while piece := await asyncio.to_thread(next, pieces, None):
                yield piece

    async def pull(
        self,
        reference: str,
        on_progress: OnProgress | None = None,
        *,
        policy: PullPolicy = "missing",
        platform: str = "",
        unpack: bool | None = None,
    ) -> Image:
        """The image under this name: the one that is here, else fetched from its registry; with `always` the
        registry is asked first, with `never` not at all. `platform` (`linux/arm64`) is another one than this
        machine's. `unpack` readies its layers for being stacked; None: if this node does that (`unpacks`).

        Cancelling stops the transfer. Raises `NotFound` and as `registry.pull`."""
        wanted = Platform.read(platform) if platform else None
        unpack = (self.unpacks if unpack is None else unpack) and (
            wanted is None or wanted == Platform.here()
        )
        here = self.store.find(reference)
        asks = policy == "always" and not parse_reference(reference).digest
        if here and not asks and self.store.suits(here, wanted):
            if unpack and not self.store.unpacked(here.digest):
                await asyncio.to_thread(self.store.layers, here.digest)
            self.store.use(here.digest)
            return here
        if policy == "never":
            raise NotFound(
                f"this node has no image {reference}, and it is never to be pulled",
                hint="pull or load it first, or let it be pulled: --pull missing",
            )
        from hivemind.drivers.images.registry import pull

        def fetch(report: OnProgress, stopped: threading.Event) -> Image:
            return pull(self.store, reference, self.keyring, report, stopped, platform=wanted, unpack=unpack)

        try:
            image = await self._transfer(fetch, on_progress)
        except NoRoom as error:
            if not await self.make_room(error):
                raise
            image = await self._transfer(fetch, on_progress)
        self.on_arrival()
        return image

    async def push(self, reference: str, on_progress: OnProgress | None = None) -> Image:
        """Sends the image of that name to its registry. Cancelling stops it. Raises as `push.push`."""
        from hivemind.drivers.images.push import push

        return await self._transfer(
            lambda report, stopped: push(self.store, reference, self.keyring, report, stopped), on_progress
        )

    async def sign_in(self, access: Access) -> None:
        """Tries whether a registry lets in whom `access` names. Raises `Unauthenticated`, `Unavailable`."""
        from hivemind.drivers.images.connection import RegistryConnection

        await asyncio.to_thread(RegistryConnection(access, "", "").sign_in)

    async def _transfer(
        self, work: Callable[[OnProgress, threading.Event], Image], on_progress: OnProgress | None
    ) -> Image:
        loop, stopped = asyncio.get_running_loop(), threading.Event()

        def report(progress: PullProgress) -> None:
            if on_progress and not stopped.is_set():
                loop.call_soon_threadsafe(on_progress, progress)

        try:
            return await asyncio.to_thread(work, report, stopped)
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
            images = await asyncio.to_thread(load, self.store, Path(name), unpack=self.unpacks)
            self.on_arrival()
            return images
        finally:
            os.unlink(name)

    def _spool(self, fd: int, chunk: bytes) -> None:
        self.store.blobs.check_room(len(chunk))
        with disk_errors("the archive", self.store.root):
            write_all(fd, chunk)

    async def remove(self, reference: str, keep: frozenset[str] = frozenset()) -> int:
        return await self._removing(asyncio.to_thread(self.store.remove, reference, keep))

    async def drop(self, digest: str, keep: frozenset[str] = frozenset()) -> int:
        """Removes an image with all its names; bytes freed. Raises `Conflict` if it is in `keep`."""
        return await self._removing(asyncio.to_thread(self.store.drop, digest, keep))

    async def tag(self, digest: str, reference: str) -> Image:
        """Raises `Invalid` for a name by digest."""
        if parse_reference(reference).digest:
            raise Invalid(f"{reference!r} names a digest, which is no tag", hint="write NAME:TAG")
        return await asyncio.to_thread(self.store.tag, digest, reference)

    async def prune(self, keep: frozenset[str]) -> int:
        return await self._removing(asyncio.to_thread(self.store.prune, keep))

    async def _removing(self, work: Awaitable[int]) -> int:
        freed = await work
        for tell in self.on_removal:
            tell()
        return freed

    def list(self) -> list[Image]:
        return self.store.list()


async def _no_more_room(error: NoRoom) -> bool:
    return False
