"""Images of a node, and registries of the hive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from hivemind.client.collection import Collection
from hivemind.client.connection import STREAM_SILENCE, Connection, understood
from hivemind.client.streams import lines
from hivemind.model.answers import ImageList, Pruned, PullProgress
from hivemind.model.base import encode
from hivemind.model.image import IMAGE, ImageDetails, ImageDocument
from hivemind.model.image_registry import REGISTRY, RegistryDocument, RegistryManifest
from hivemind.model.names import DEFAULT_PROJECT

if TYPE_CHECKING:
    from hivemind.client.push import PushedImage

_CHUNK = 1 << 18
_UNPACKING = 1800.0
"""Seconds that the daemon may be busy with an archive after it has all of it."""


class Images(Collection[ImageDocument]):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, IMAGE)

    def load(self, archive: IO[bytes], on_sent: Callable[[int], None] | None = None) -> list[ImageDocument]:
        """Uploads a `docker save` or OCI archive; `on_sent` hears the bytes sent so far."""
        answer = self._connection.call(
            "POST",
            "/v1/images/load",
            body=_chunks(archive, on_sent),
            headers={"Content-Type": "application/x-tar"},
            timeout=_UNPACKING,
        )
        return understood(answer.body, ImageList).items

    def push_archive(
        self, path: str, name: str = "", on_sent: Callable[[int, int], None] | None = None
    ) -> list[PushedImage]:
        """Brings the images of an archive on this machine to the node, only the layers that it lacks.

        `name`: for the only image of the archive. `on_sent` hears how many bytes are done, of how many."""
        from hivemind.client.push import push_archive

        return push_archive(self._connection, path, name, on_sent)

    def save(self, names: Sequence[str]) -> Iterator[bytes]:
        """One archive of these images, for `docker load` and all that read OCI layouts."""
        timeout = max(self._connection.timeout, STREAM_SILENCE)
        with (
            self._connection.open(
                "POST", "/v1/images/save", body=encode({"names": list(names)}), timeout=timeout
            ) as exchange,
            self._connection.explained(),
        ):
            yield from exchange.pieces()

    def pull(self, reference: str, *, policy: str = "missing", platform: str = "") -> Iterator[PullProgress]:
        """Fetches it from its registry. The last value has `image`. Raises what made it fail."""
        wish = {"reference": reference, "policy": policy, "platform": platform}
        return self._progress("/v1/images/pull", wish)

    def push(self, reference: str) -> Iterator[PullProgress]:
        """Sends it from the node to the registry that its name begins with. As `pull`."""
        return self._progress("/v1/images/push", {"reference": reference})

    def details(self, name: str) -> ImageDetails:
        """Everything that the image says of itself."""
        body = encode({"name": name})
        return understood(self._connection.call("POST", "/v1/images/inspect", body=body).body, ImageDetails)

    def tag(self, name: str, new: str) -> ImageDocument:
        """Gives it one more name, taking that from the image that had it."""
        body = encode({"source": name, "target": new})
        return understood(self._connection.call("POST", "/v1/images/tag", body=body).body, ImageDocument)

    def prune(self, *, everything: bool = False) -> Pruned:
        """Removes images without a name that nothing uses; with `everything` all that nothing uses."""
        body = encode({"all": everything})
        answer = self._connection.call("POST", "/v1/images/prune", body=body, timeout=_UNPACKING)
        return understood(answer.body, Pruned)

    def delete(self, name: str, project: str = DEFAULT_PROJECT, *, if_version: int | None = None) -> None:
        """By reference or digest. Raises `Conflict` naming the apps that use it."""
        self._connection.call("DELETE", _path(name))

    def _progress(self, path: str, wish: dict[str, str]) -> Iterator[PullProgress]:
        for line in lines(self._connection, "POST", path, body=encode(wish)):
            progress = understood(line, PullProgress)
            if progress.error is not None:
                raise progress.error.error()
            yield progress


class Registries(Collection[RegistryDocument]):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, REGISTRY)

    def login(self, manifest: RegistryManifest) -> RegistryDocument:
        """Keeps it if the registry lets the node in. Raises `Unauthenticated`, `Unavailable`."""
        answer = self._connection.call("POST", "/v1/registries/login", body=encode(manifest))
        return understood(answer.body, RegistryDocument)


def _path(name: str) -> str:
    return f"/v1/images/{quote(name, safe='/:@')}"


def _chunks(archive: IO[bytes], on_sent: Callable[[int], None] | None) -> Iterator[bytes]:
    sent = 0
    while piece := archive.read(_CHUNK):
        yield piece
        sent += len(piece)
        if on_sent:
            on_sent(sent)
