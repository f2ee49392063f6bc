"""Brings images of the store to registries. Everything here blocks and belongs in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import IO, cast
from urllib.parse import urlsplit

from hivemind.drivers.images.access import Keyring
from hivemind.drivers.images.connection import RegistryConnection, Sending, sending
from hivemind.drivers.images.manifest import DOCUMENT_LIMIT, Descriptor
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.contract import PullProgress
from hivemind.errors import Corrupt, Invalid, NotFound, Unavailable
from hivemind.model.image import Image, Reference, parse_reference

PARALLEL = 3


def push(
    store: ImageStore,
    reference: str,
    keyring: Keyring,
    on_progress: Callable[[PullProgress], None],
    stopped: threading.Event,
) -> Image:
    """Sends the image of that name to the registry in the name; blobs that are there already are not sent.

    Raises `NotFound` (no such image here), `Invalid` (a name without a tag), `Unauthenticated`, `Forbidden`,
    `Unavailable`."""
    wanted = parse_reference(reference)
    if wanted.digest:
        raise Invalid(
            f"{reference!r} names a digest, under which nothing can be pushed",
            hint="give it a tag: hivemind image tag IMAGE NAME:TAG",
        )
    image = store.find(reference)
    if image is None:
        raise NotFound(
            f"this node has no image {reference}",
            hint="hivemind images shows what there is; hivemind image tag IMAGE NAME gives another name",
        )
    with store.arriving():
        _Push(store, image, wanted, keyring, on_progress, stopped).run()
    return image


class _Push:
    def __init__(
        self,
        store: ImageStore,
        image: Image,
        wanted: Reference,
        keyring: Keyring,
        on_progress: Callable[[PullProgress], None],
        stopped: threading.Event,
    ) -> None:
        self.store = store
        self.image = image
        self.wanted = wanted
        self.on_progress = on_progress
        self.stopped = stopped
        access = keyring(wanted.registry)
        self.registry = RegistryConnection(access, wanted.repository, str(wanted), action="push")
        self.lock = threading.Lock()
        self.done = 0
        self.total = image.size
        self.sent: dict[str, int] = {}

    def run(self) -> None:
        manifest = self.store.manifest(self.image.digest)
        self.advance(0)
        blobs = {blob.digest: blob for blob in (manifest.config, *manifest.layers)}
        with ThreadPoolExecutor(PARALLEL, "hivemind-push") as threads:
            futures = [threads.submit(self._send, blob) for blob in blobs.values()]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self.stopped.set()
                for future in futures:
                    future.cancel()
                raise
        data = self.store.blobs.read(self.image.digest, DOCUMENT_LIMIT)
        headers = {"Content-Type": self.store.descriptor(self.image.digest).media_type}
        with self.registry.ask("PUT", f"manifests/{self.wanted.tag}", headers, sending(data)) as answer:
            told = answer.header("Docker-Content-Digest")
        if told not in ("", self.image.digest):
            raise Corrupt(f"{self.registry.host} stored {told} where {self.image.digest} was sent")
        self.on_progress(PullProgress("done", self.done, self.total))

    def _send(self, blob: Descriptor) -> None:
        size = self.store.blobs.path(blob.digest).stat().st_size
        if self._is_there(blob):
            self.advance(size)
            return
        with self.registry.ask("POST", "blobs/uploads/", body=sending(b"")) as answer:
            where = answer.header("Location")
        if not where:
            raise Unavailable(f"{self.registry.host} does not say where to send {blob.digest}")
        url = f"{where}{'&' if urlsplit(where).query else '?'}digest={blob.digest}"
        headers = {"Content-Type": "application/octet-stream"}
        body = Sending(size, lambda: cast(IO[bytes], _Counted(self, blob.digest)))
        with self.registry.ask("PUT", url, headers, body):
            pass

    def _is_there(self, blob: Descriptor) -> bool:
        try:
            with self.registry.ask("HEAD", f"blobs/{blob.digest}"):
                return True
        except NotFound:
            return False

    def advance(self, more: int) -> None:
        if self.stopped.is_set():
            raise Unavailable(f"the push of {self.wanted} was stopped", hint="push it again")
        with self.lock:
            self.done += more
            self.on_progress(PullProgress("uploading", self.done, self.total))


class _Counted:
    """A blob's file that tells what was read of it; when it is sent a second time, it takes the first back."""

    def __init__(self, push: _Push, digest: str) -> None:
        self._push = push
        self._digest = digest
        self._file = push.store.blobs.open_blob(digest)
        push.advance(-push.sent.pop(digest, 0))

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._push.sent[self._digest] = self._push.sent.get(self._digest, 0) + len(data)
        self._push.advance(len(data))
        return data

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._file.close()
