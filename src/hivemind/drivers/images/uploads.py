"""Images that arrive piece by piece, as the distribution API brings them: blobs first, in any order, then manifests.

Until its manifest comes a blob belongs to no image, so nothing is collected while anybody uploads, and for some
minutes afterwards. What was not finished by then is thrown away.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack

from hivemind.drivers.images.blobs import Incoming
from hivemind.drivers.images.manifest import (
    INDEXES,
    MANIFESTS,
    Index,
    Platform,
    choose,
    parse,
    parse_manifest,
)
from hivemind.drivers.images.store import ImageStore
from hivemind.errors import Conflict, Invalid, NotFound, Unavailable, Unsupported
from hivemind.model.image import Image, parse_reference

LIMIT = 256
"""Uploads at the same time."""
LINGER = 300.0
"""Seconds without anything new after which whoever uploads counts as gone."""


class _Upload:
    def __init__(self, store: ImageStore) -> None:
        self._stack = ExitStack()
        self.incoming: Incoming = self._stack.enter_context(store.blobs.receive())
        self.lock = asyncio.Lock()

    def close(self) -> None:
        self._stack.close()


class Uploads:
    def __init__(self, store: ImageStore, linger: float = LINGER) -> None:
        self._store = store
        self._linger = linger
        self._uploads: dict[str, _Upload] = {}
        self._lease: ExitStack | None = None
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    def begin(self) -> str:
        """An upload's id. Raises `Unavailable`."""
        if len(self._uploads) >= LIMIT:
            raise Unavailable(f"{LIMIT} uploads are under way", hint="try again in a moment")
        self._store.blobs.check_room(0)
        self.touch()
        id = os.urandom(16).hex()
        self._uploads[id] = _Upload(self._store)
        return id

    def size(self, id: str) -> int:
        return self._get(id).incoming.size

    async def append(self, id: str, pieces: AsyncIterator[bytes], start: int | None = None) -> int:
        """How many bytes are there now. Raises `Conflict` when `start` is not where it goes on."""
        upload = self._get(id)
        async with upload.lock:
            if start is not None and start != upload.incoming.size:
                raise Conflict(f"the upload goes on at byte {upload.incoming.size}, not {start}")
            async for piece in pieces:
                await asyncio.to_thread(upload.incoming.write, piece)
                self.touch()
        return upload.incoming.size

    async def finish(self, id: str, digest: str) -> str:
        """Raises `Corrupt` when it is not `digest`; the upload is over either way."""
        upload = self._get(id)
        async with upload.lock:
            try:
                return await asyncio.to_thread(upload.incoming.commit, digest)
            finally:
                self._uploads.pop(id, None)
                upload.close()

    def cancel(self, id: str) -> None:
        self._get(id)
        self._uploads.pop(id).close()

    async def put_manifest(
        self, repository: str, target: str, data: bytes, media_type: str, *, unpack: bool
    ) -> str:
        """Takes in the image, or for an index the one in it that is for this machine, under `repository:target`;
        the digest of `data`. Raises `NotFound` for blobs that did not come, `Invalid`, `Corrupt`, `Unsupported`."""
        self.touch()
        return await asyncio.to_thread(self._put_manifest, repository, target, data, media_type, unpack)

    def _put_manifest(self, repository: str, target: str, data: bytes, media_type: str, unpack: bool) -> str:
        by_digest = target.startswith("sha256:")
        with self._store.blobs.receive() as incoming:
            incoming.write(data)
            digest = incoming.commit(target if by_digest else "")
        name = str(parse_reference(f"{repository}@{digest}" if by_digest else f"{repository}:{target}"))
        if media_type in INDEXES:
            pin = str(parse_reference(f"{repository}@{digest}"))
            self._name_chosen(parse(data, Index, "the index"), {name, pin})
            return digest
        if media_type not in MANIFESTS:
            raise Unsupported(
                f"manifests of type {media_type[:100]!r} are not known here", hint="push with a current tool"
            )
        for blob in (parse_manifest(data).config, *parse_manifest(data).layers):
            if not self._store.blobs.has(blob.digest):
                raise NotFound(f"blob {blob.digest} did not come", hint="push it before its manifest")
        names = [] if by_digest else [name]
        image = self._store.add(digest, [], media_type, unpack=False)
        if unpack and self._store.suits(image, None):
            self._store.layers(digest)
        self._store.add(digest, names, media_type, unpack=False)
        return digest

    def _name_chosen(self, index: Index, names: set[str]) -> None:
        chosen = choose(index, Platform.here())
        if self._store.find(chosen.digest) is None:
            raise NotFound(f"manifest {chosen.digest} did not come", hint="push it before its index")
        for name in sorted(names):
            self._store.tag(chosen.digest, name)

    def find(self, repository: str, target: str) -> Image:
        """Raises `NotFound`."""
        name = f"{repository}@{target}" if target.startswith("sha256:") else f"{repository}:{target}"
        image = self._store.find(name)
        if image is None:
            raise NotFound(f"this node has no image {name}", hint="hivemind images shows what it has")
        return image

    def _get(self, id: str) -> _Upload:
        if id not in self._uploads:
            raise NotFound("there is no such upload, or it was left alone for too long", hint="begin again")
        return self._uploads[id]

    # how long what came is kept for whoever brings it

    def touch(self) -> None:
        self._last = asyncio.get_running_loop().time()
        if self._lease is None:
            self._lease = ExitStack()
            self._lease.enter_context(self._store.arriving(sweep=True))
            self._timer = asyncio.get_running_loop().call_later(self._linger, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        left = self._last + self._linger - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._look)
        else:
            self._ending = loop.create_task(self._end())

    async def _end(self) -> None:
        lease, self._lease = self._lease, None
        for id in list(self._uploads):
            self._uploads.pop(id).close()
        if lease:
            await asyncio.to_thread(lease.close)

    async def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._ending:
            await asyncio.gather(self._ending, return_exceptions=True)
        await self._end()


def check_repository(name: str) -> None:
    """Raises `Invalid`."""
    if "@" in name or parse_reference(f"{name}:tag").tag != "tag":
        raise Invalid(f"{name[:200]!r} is not the name of an image", hint="write it like team/web")
