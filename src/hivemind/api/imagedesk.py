"""What the API needs of the node's images. The daemon provides it; tests bring their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from hivemind.drivers.images.access import Access
from hivemind.drivers.images.images import Images
from hivemind.drivers.runtimes.contract import OnProgress, PullPolicy
from hivemind.model.answers import Pruned
from hivemind.model.image import Image, Layer


class ImageDesk(Protocol):
    def list(self) -> list[Image]: ...

    def find(self, reference: str) -> Image | None: ...

    def layers(self, digest: str) -> tuple[str, Sequence[Layer]]:
        """The configuration's digest, and what it is made of, lowest first. Raises `NotFound`."""

    def used(self, digest: str) -> int:
        """When it was last wanted, in milliseconds since 1970."""

    async def load(self, chunks: AsyncIterator[bytes]) -> Sequence[Image]:
        """A `docker save` or OCI archive, plain, gzip or zstd compressed."""

    async def pull(
        self, reference: str, on_progress: OnProgress, *, policy: PullPolicy = "missing", platform: str = ""
    ) -> Image: ...

    async def push(self, reference: str, on_progress: OnProgress) -> Image: ...

    async def tag(self, digest: str, reference: str) -> Image: ...

    def save(self, digests: Sequence[str], names: Sequence[str]) -> AsyncIterator[bytes]:
        """One archive. Raises `NotFound` at once."""

    async def remove(self, reference: str) -> None:
        """Raises `Conflict` naming the apps that use it."""

    async def prune(self, everything: bool) -> Pruned: ...

    async def sign_in(self, access: Access) -> None:
        """Tries whether a registry lets in whom `access` names. Raises `Unauthenticated`, `Unavailable`."""

    @property
    def store(self) -> Images:
        """For the distribution API, which speaks of blobs."""
