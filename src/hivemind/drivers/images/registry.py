"""Fetches images from registries (OCI distribution, Docker Registry HTTP API v2) into the store.

Everything here blocks and belongs in threads. Blobs are fetched three at a time, hashed while they arrive and,
after a cut or a failure, fetched on from where they stopped. Mirrors are asked first, for each thing anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import TypeVar

from hivemind.drivers.images.access import Keyring, sources
from hivemind.drivers.images.blobs import Incoming, NoRoom
from hivemind.drivers.images.connection import Cut, RegistryConnection, Response
from hivemind.drivers.images.manifest import (
    ACCEPTED,
    DOCUMENT_LIMIT,
    INDEXES,
    MANIFESTS,
    Descriptor,
    Index,
    Manifest,
    Platform,
    check_platform,
    choose,
    parse,
    parse_configuration,
    parse_manifest,
)
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.images.tarball import CHUNK
from hivemind.drivers.runtimes.contract import PullProgress
from hivemind.errors import Corrupt, HivemindError, Invalid, Unavailable, Unsupported
from hivemind.model.image import Image, parse_reference

PARALLEL = 3
ATTEMPTS = 5
NESTING = 3

T = TypeVar("T")
_log = logging.getLogger(__name__)


def pull(
    store: ImageStore,
    reference: str,
    keyring: Keyring,
    on_progress: Callable[[PullProgress], None],
    stopped: threading.Event,
    *,
    platform: Platform | None = None,
    unpack: bool = True,
) -> Image:
    """The image, fetched blob by blob; blobs that are here already are not fetched.

    `platform`: None is this machine's. `on_progress` is called from several threads. Raises `NotFound`,
    `Unauthenticated`, `Forbidden`, `Unavailable` (unreachable, cut too often, stopped, no room on the disk),
    `Corrupt` (a wrong digest) and what `ImageStore.add` raises. What was fetched before a failure stays until
    the next collection, so trying again goes on."""
    on_progress(PullProgress("resolving"))
    with store.arriving():
        return _Pull(store, reference, keyring, on_progress, stopped, platform).run(unpack)


class _Pull:
    def __init__(
        self,
        store: ImageStore,
        reference: str,
        keyring: Keyring,
        on_progress: Callable[[PullProgress], None],
        stopped: threading.Event,
        platform: Platform | None,
    ) -> None:
        self.store = store
        self.wanted = parse_reference(reference)
        self.on_progress = on_progress
        self.stopped = stopped
        self.platform = platform or Platform.here()
        self.registries = [
            RegistryConnection(access, self.wanted.repository, str(self.wanted))
            for access in sources(self.wanted.registry, keyring)
        ]
        self.lock = threading.Lock()
        self.total = self.done = 0

    def run(self, unpack: bool) -> Image:
        digest, media_type, manifest = self._resolve()
        missing = {
            b.digest: b for b in (manifest.config, *manifest.layers) if not self.store.blobs.has(b.digest)
        }
        self.total = sum(blob.size for blob in missing.values())
        self.store.blobs.check_room(self.total)
        self._progress(0)
        self._fetch_all(list(missing.values()))
        config = self.store.blobs.read(manifest.config.digest, DOCUMENT_LIMIT)
        check_platform(parse_configuration(config, manifest), self.platform)
        if unpack:
            self.on_progress(PullProgress("unpacking", self.done, self.total))
        image = self.store.add(digest, self._names(digest), media_type, unpack=unpack)
        self.on_progress(PullProgress("done", self.done, self.total))
        return image

    def _names(self, digest: str) -> list[str]:
        """What to find the image by later: an index's digest is a name of what was chosen from it."""
        if not self.wanted.digest:
            return [str(self.wanted)]
        return [str(self.wanted.pin)] if self.wanted.digest != digest else []

    def _resolve(self) -> tuple[str, str, Manifest]:
        """Follows indexes to the manifest for the platform; its digest, media type and content."""
        target, expected = self.wanted.digest or self.wanted.tag, self.wanted.digest
        for _ in range(NESTING):
            data, media_type, digest = self._anywhere(
                partial(self._manifest, target=target, expected=expected)
            )
            if media_type in MANIFESTS:
                return digest, media_type, parse_manifest(data)
            if media_type not in INDEXES:
                raise Unsupported(
                    f"{self.wanted} has the manifest type {media_type!r}, which is not known here",
                    hint="push it again with a current tool (schema 1 manifests are obsolete)",
                )
            target = expected = choose(parse(data, Index, "the image's index"), self.platform).digest
        raise Invalid(f"the indexes of {self.wanted} point to each other too deeply", hint="push it again")

    def _anywhere(self, ask: Callable[[RegistryConnection], T]) -> T:
        """From the first mirror that has it, else from the registry itself, whose error counts."""
        *mirrors, origin = self.registries
        for mirror in mirrors:
            try:
                return ask(mirror)
            except HivemindError as error:
                if self.stopped.is_set() or isinstance(error, NoRoom):
                    raise
                _log.warning("the mirror %s is passed over: %s", mirror.host, error.message)
        return ask(origin)

    def _manifest(self, registry: RegistryConnection, target: str, expected: str) -> tuple[bytes, str, str]:
        with registry.get(f"manifests/{target}", {"Accept": ACCEPTED}) as response:
            data = response.read_all(DOCUMENT_LIMIT)
            media_type = response.header("Content-Type").partition(";")[0].strip()
        with self.store.blobs.receive() as incoming:
            incoming.write(data)
            return data, media_type, incoming.commit(expected)

    def _fetch_all(self, blobs: list[Descriptor]) -> None:
        """The first failure stops the others."""
        with ThreadPoolExecutor(PARALLEL, "hivemind-pull") as threads:
            futures = [threads.submit(self._fetch, blob) for blob in blobs]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self.stopped.set()
                for future in futures:
                    future.cancel()
                raise

    def _fetch(self, blob: Descriptor) -> None:
        with self.store.blobs.only_one(blob.digest):
            if self.store.blobs.has(blob.digest):  # another pull brought it meanwhile
                self._progress(blob.size)
                return
            with self.store.blobs.receive_rest(blob.digest) as incoming:
                self._progress(incoming.size)
                self._anywhere(lambda registry: self._complete(registry, blob, incoming))

    def _complete(self, registry: RegistryConnection, blob: Descriptor, incoming: Incoming) -> None:
        """What broke off earlier may have been damaged by a crash since: then once more from the beginning."""
        went_on = incoming.size > 0
        try:
            self._receive(registry, blob, incoming)
            incoming.commit(blob.digest)
        except Corrupt:
            self._start_over(incoming)
            if not went_on:
                raise
            self._receive(registry, blob, incoming)
            incoming.commit(blob.digest)

    def _receive(self, registry: RegistryConnection, blob: Descriptor, incoming: Incoming) -> None:
        """Fetches the rest of a blob until all is there; a cut that brought nothing new counts as an attempt."""
        attempts = 0
        if incoming.size > blob.size:
            self._start_over(incoming)
        while incoming.size < blob.size:
            before = incoming.size
            try:
                self._receive_once(registry, blob, incoming)
            except Cut as cut:
                attempts = attempts + 1 if incoming.size == before else 1
                if attempts >= ATTEMPTS:
                    raise Unavailable(
                        f"{registry.host} cut the transfer of {self.wanted} again and again: {cut}",
                        hint="check the network to the registry and pull again; what arrived is kept",
                    ) from cut
                if self.stopped.wait(0.1 * attempts):
                    raise self._was_stopped() from cut

    def _receive_once(self, registry: RegistryConnection, blob: Descriptor, incoming: Incoming) -> None:
        headers = {"Range": f"bytes={incoming.size}-"} if incoming.size else {}
        with registry.get(f"blobs/{blob.digest}", headers) as response:
            if incoming.size and not self._goes_on(response, incoming):
                self._start_over(incoming)
            while data := response.read(CHUNK):
                if self.stopped.is_set():
                    raise self._was_stopped()
                incoming.write(data)
                self._progress(len(data))
                if incoming.size > blob.size:
                    raise Corrupt(f"{registry.host} sends more than the {blob.size} bytes of {blob.digest}")
        if incoming.size < blob.size:
            raise Cut(f"{incoming.size} of {blob.size} bytes arrived")

    def _start_over(self, incoming: Incoming) -> None:
        self._progress(-incoming.size)
        incoming.restart()

    def _was_stopped(self) -> Unavailable:
        return Unavailable(f"the pull of {self.wanted} was stopped", hint="pull it again")

    @staticmethod
    def _goes_on(response: Response, incoming: Incoming) -> bool:
        return response.status == 206 and response.header("Content-Range").startswith(
            f"bytes {incoming.size}-"
        )

    def _progress(self, more: int) -> None:
        with self.lock:
            self.done += more
            self.on_progress(PullProgress("downloading", self.done, self.total))
