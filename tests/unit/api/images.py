"""The images of a node in memory: everything that the API asks of them, but no blobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from hivemind.drivers.images.access import Access
from hivemind.drivers.images.images import Images
from hivemind.drivers.runtimes.contract import OnProgress, PullPolicy, PullProgress
from hivemind.errors import Conflict, Invalid, NotFound, Unauthenticated, Unavailable
from hivemind.model.answers import Pruned
from hivemind.model.image import Image, ImageConfig, Layer, parse_reference


class MemoryImages:
    """Names with `busy`, `missing` or `down` in them meet misfortune; the only password is `sesame`."""

    def __init__(self) -> None:
        self.held: dict[str, Image] = {}
        self.store: Images
        self.signed_in: list[Access] = []

    def hold(self, reference: str, size: int = 10) -> Image:
        name = str(parse_reference(reference))
        digest = f"sha256:{len(self.held):064x}"
        self.held[digest] = Image(digest=digest, names=(name,), config=ImageConfig(), size=size)
        return self.held[digest]

    def list(self) -> list[Image]:
        return list(self.held.values())

    def find(self, reference: str) -> Image | None:
        name = reference if reference.startswith("sha256:") else str(parse_reference(reference))
        return next((i for d, i in self.held.items() if name in (d, *i.names)), None)

    def layers(self, digest: str) -> tuple[str, Sequence[Layer]]:
        layer = Layer(digest=f"sha256:{1:064x}", diff_id=f"sha256:{2:064x}", size=7, media_type="tar")
        return f"sha256:{3:064x}", [layer]

    def used(self, digest: str) -> int:
        return 1

    async def load(self, chunks: AsyncIterator[bytes]) -> Sequence[Image]:
        size, first = 0, b""
        async for chunk in chunks:
            first = first or chunk[:4]
            size += len(chunk)
        if first == b"junk":
            raise Invalid("this is not an image archive", hint="make one with: docker save")
        return [self.hold("loaded:1", size)]

    async def pull(
        self, reference: str, on_progress: OnProgress, *, policy: PullPolicy = "missing", platform: str = ""
    ) -> Image:
        on_progress(PullProgress("downloading", 1, 2))
        await asyncio.sleep(0)
        if "missing" in reference or policy == "never":
            raise NotFound(f"there is no image {reference}", hint="check its name")
        if "down" in reference:
            raise Unavailable("the registry is down", hint="later")
        return self.hold(reference)

    async def push(self, reference: str, on_progress: OnProgress) -> Image:
        on_progress(PullProgress("uploading", 1, 2))
        image = self.find(reference)
        if image is None:
            raise NotFound(f"there is no image {reference}", hint="check its name")
        return image

    async def tag(self, digest: str, reference: str) -> Image:
        image = self.held[digest]
        self.held[digest] = replace(image, names=(*image.names, str(parse_reference(reference))))
        return self.held[digest]

    async def save(self, digests: Sequence[str], names: Sequence[str]) -> AsyncIterator[bytes]:
        yield ("archive of " + ", ".join(names)).encode()

    async def remove(self, reference: str) -> None:
        if "busy" in reference:
            raise Conflict("app web uses it")
        image = self.find(reference)
        if image is None:
            raise NotFound(reference)
        del self.held[image.digest]

    async def prune(self, everything: bool) -> Pruned:
        gone = [image for image in self.held.values() if everything or not image.names]
        for image in gone:
            del self.held[image.digest]
        return Pruned(images=[(i.names or (i.digest,))[0] for i in gone], freed=sum(i.size for i in gone))

    async def sign_in(self, access: Access) -> None:
        self.signed_in.append(access)
        if access.username and access.password != "sesame":
            raise Unauthenticated(f"{access.host} does not let in {access.username!r}", hint="try again")
