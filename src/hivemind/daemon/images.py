"""The images of this node, as the hive uses them: what may go, what must stay, and when to make room."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress

from hivemind.drivers.images.access import Access
from hivemind.drivers.images.blobs import NoRoom
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.room import Room
from hivemind.drivers.runtimes.contract import OnProgress, PullPolicy, Runtime
from hivemind.errors import Conflict, HivemindError
from hivemind.model.answers import Pruned
from hivemind.model.image import Image, Layer, parse_reference
from hivemind.model.quantity import show_bytes
from hivemind.state.state import State
from hivemind.store.events import EventLog

log = logging.getLogger(__name__)

PAUSE = 60.0
"""Seconds between looks at the disk."""
FRESH = 300.0
"""Seconds for which an image that somebody wanted is not collected: who pulled it is about to use it."""


class NodeImages:
    def __init__(
        self,
        images: Images,
        state: State,
        runtimes: Mapping[str, Runtime],
        events: EventLog,
        node_name: str,
        *,
        budget: int = 0,
        reserve: int = 0,
        fresh: float = FRESH,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`budget`: bytes that images may take, 0 for any number while the disk has room; `reserve` as in `Room`."""
        self.store = images
        self._state = state
        self._runtimes = runtimes
        self._events = events
        self._node_name = node_name
        self._budget = budget
        self._fresh = fresh
        self._now = now
        self._room = Room(images.store.root, reserve)
        self._low = ""
        self._looking: asyncio.Task[None] | None = None
        self._collecting = asyncio.Lock()
        self._arrived = asyncio.Event()
        images.store.blobs.check_room = self._room.check
        images.make_room = self.make_room
        images.on_arrival = self._arrived.set

    def start(self) -> None:
        self._looking = asyncio.create_task(self._look_after())

    async def stop(self) -> None:
        if self._looking:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        await self.store.uploads.close()

    @property
    def problems(self) -> tuple[str, ...]:
        return (self._low,) if self._low else ()

    # what people ask for

    def list(self) -> list[Image]:
        return self.store.list()

    def find(self, reference: str) -> Image | None:
        return self.store.find(reference)

    def layers(self, digest: str) -> tuple[str, Sequence[Layer]]:
        image, manifest = self.store.get(digest), self.store.manifest(digest)
        return manifest.config.digest, [
            Layer(digest=blob.digest, diff_id=diff_id, size=blob.size, media_type=blob.media_type)
            for blob, diff_id in zip(manifest.layers, image.layers, strict=True)
        ]

    def used(self, digest: str) -> int:
        return int(self.store.store.used(digest) * 1000)

    async def load(self, chunks: AsyncIterator[bytes]) -> Sequence[Image]:
        return await self.store.load(chunks)

    async def pull(
        self, reference: str, on_progress: OnProgress, *, policy: PullPolicy = "missing", platform: str = ""
    ) -> Image:
        return await self.store.pull(reference, on_progress, policy=policy, platform=platform)

    async def push(self, reference: str, on_progress: OnProgress) -> Image:
        return await self.store.push(reference, on_progress)

    async def tag(self, digest: str, reference: str) -> Image:
        return await self.store.tag(digest, reference)

    def save(self, digests: Sequence[str], names: Sequence[str]) -> AsyncIterator[bytes]:
        return self.store.export(*digests, names=names)

    async def remove(self, reference: str) -> None:
        wanted = "" if reference.startswith("sha256:") else str(parse_reference(reference))
        users = sorted(
            app.name
            for app in self._state.apps.values()
            if not app.deleted
            and any(
                template.image and str(parse_reference(template.image)) == wanted
                for template in self._state.revision(app.id, app.revision).spec.templates
            )
        )
        if users:
            raise Conflict(f"{reference} is used by {', '.join(users)}", hint="remove those apps first")
        await self.store.remove(reference, await self._running())

    async def prune(self, everything: bool) -> Pruned:
        async with self._collecting:
            keep = await self._kept()
            gone = [i for i in self.list() if i.digest not in keep and (everything or not i.names)]
            freed = 0
            for image in gone:
                freed += await self.store.drop(image.digest, keep)
            freed += await self.store.prune(keep)
        return Pruned(images=[(image.names or (image.digest,))[0] for image in gone], freed=freed)

    async def sign_in(self, access: Access) -> None:
        await self.store.sign_in(access)

    # making room

    async def make_room(self, error: NoRoom) -> bool:
        """Whether anything went, so that it is worth trying again."""
        async with self._collecting:
            freed = await self._collect(lambda usage: True)
        await self._note_room(error)
        return freed > 0

    async def _look_after(self) -> None:
        while True:
            try:
                await self.look()
            except (HivemindError, OSError) as error:
                log.warning("the images could not be looked after: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await self._arrived.wait()
            self._arrived.clear()

    async def look(self) -> None:
        """Once: collects what is beyond the budget, and what the disk has no room for."""
        async with self._collecting:
            if self._room.low:
                await self._collect(lambda usage: self._room.low)
            if self._budget:
                await self._collect(lambda usage: usage > self._budget)
        await self._note_room(None)

    async def _note_room(self, error: NoRoom | None) -> None:
        """Says it once when the disk gets low, and once when it has room again."""
        if not self._room.low:
            if self._low:
                self._events.append("node.disk-ok", "images are pulled again", name=self._node_name)
            self._low = ""
            if error is not None:
                self._events.append("image.refused", error.message, level="warning", name=self._node_name)
            return
        if not self._low:
            free, reserve = show_bytes(self._room.free()), show_bytes(self._room.reserve())
            self._low = (
                f"the disk of the images is nearly full: {free} are free and {reserve} must stay free, so nothing "
                "is pulled (hivemind image prune --all removes what is not used)"
            )
            self._events.append("node.disk-low", self._low, level="warning", name=self._node_name)
            log.warning("%s", self._low)

    async def _collect(self, more: Callable[[int], bool]) -> int:
        """Removes unused images, the least recently used first, while `more` says so of the bytes they all take."""
        keep, store = await self._kept(), self.store.store
        usage = await asyncio.to_thread(store.usage)
        freed = 0
        idle = [image for image in store.list() if image.digest not in keep]
        for image in sorted(idle, key=lambda image: store.used(image.digest)):
            if not more(usage) or self._now() - store.used(image.digest) < self._fresh:
                break
            freed += await self.store.drop(image.digest, keep)
            usage = await asyncio.to_thread(store.usage)
            name = (image.names or (image.digest,))[0]
            self._events.append("image.collected", f"{name}, unused, to make room", name=self._node_name)
        return freed

    async def _kept(self) -> frozenset[str]:
        """Digests of what runs, of what ended but is kept, and of every revision that is kept."""
        references = {
            template.image
            for revision in self._state.revisions.values()
            for template in revision.spec.templates
            if template.image
        }
        named = {image.digest for reference in references if (image := self.store.find(reference))}
        return frozenset(named) | await self._running()

    async def _running(self) -> frozenset[str]:
        found: set[str] = set()
        for runtime in self._runtimes.values():
            found |= {container.image for container in await runtime.list() if container.image}
        return frozenset(found)
