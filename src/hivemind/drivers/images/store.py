"""The images that this node holds: an OCI image layout on disk, with its layers unpacked beside it.

    <root>/oci-layout, index.json      which images there are and what they are called
    <root>/blobs/sha256/<hex>          manifests, configurations, layers as they came
    <root>/layers/<hex>                unpacked layers by diff id, ready to be stacked by overlay
    <root>/incoming/                   what is not whole yet

`index.json` is the truth and is replaced in one step, after everything it names is durable. Layers are unpacked
for those who stack them (the `oci` runtime), when they ask; should one be missing later, it is unpacked again.
Methods may be called from any thread; one process at a time owns a root.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from hivemind.drivers.images.blobs import Blobs, NoRoom, write_durably
from hivemind.drivers.images.layers import Layers
from hivemind.drivers.images.limits import LIMITS, Limits
from hivemind.drivers.images.manifest import (
    DOCUMENT_LIMIT,
    NAME,
    OCI_MANIFEST,
    REF_NAME,
    Descriptor,
    Index,
    Manifest,
    Platform,
    check_platform,
    parse_configuration,
    parse_manifest,
    this_architecture,
)
from hivemind.errors import Conflict, Corrupt, HivemindError, NotFound
from hivemind.model.base import encode
from hivemind.model.image import Image, parse_reference

INDEX_LIMIT = 64 * 2**20


class ImageStore:
    def __init__(self, root: Path, limits: Limits = LIMITS) -> None:
        self.root = root
        self.blobs = Blobs(root)
        self._layers = Layers(root, self.blobs, limits)
        self._lock = threading.RLock()
        self._images: dict[str, Image] = {}
        self._manifests: dict[str, Descriptor] = {}
        self.damaged: dict[str, HivemindError] = {}
        """Images that the index names but that cannot be used any more, with what is wrong with each."""
        self._arriving = 0

    def open(self) -> None:
        """Reads the index and sweeps away what is half written. Raises `Corrupt` when the index is damaged.

        An image whose documents are damaged is left out and noted in `damaged`: one bad sector must not keep
        a node from starting."""
        self.blobs.open()
        self._layers.open()
        layout = self.root / "oci-layout"
        if not layout.exists():
            write_durably(layout, b'{"imageLayoutVersion":"1.0.0"}', self.blobs.incoming)
        with self._lock:
            self._images, self._manifests, self.damaged = {}, {}, {}
            for descriptor in self._read_index().manifests:
                self._recall(descriptor)

    def _recall(self, descriptor: Descriptor) -> None:
        digest = descriptor.digest
        try:
            image = self._images.get(digest) or self._describe(digest)
        except HivemindError as error:
            self.damaged[digest] = error
            return
        name = (descriptor.annotations or {}).get(NAME)
        names = (*image.names, name) if name else image.names
        self._images[digest] = msgspec.structs.replace(image, names=names)
        self._manifests[digest] = msgspec.structs.replace(descriptor, annotations=None)

    def _read_index(self) -> Index:
        path = self.root / "index.json"
        if not path.exists():
            return Index(manifests=())
        try:
            return msgspec.json.decode(path.read_bytes(), type=Index)
        except msgspec.DecodeError as error:
            raise Corrupt(
                f"the image store's {path} is damaged: {error}",
                hint="move the image store's directory away; images can be pulled and loaded again",
            ) from error

    # reading

    # Readers take no lock, so that a long collection never holds up the event loop: copying a dict's values is
    # one step.

    def get(self, digest: str) -> Image:
        """Raises `NotFound`, or what is wrong with an image that was found damaged."""
        if image := self._images.get(digest):
            return image
        if error := self.damaged.get(digest):
            raise error
        raise NotFound(f"this node has no image {digest}", hint="pull or load it first")

    def find(self, reference: str) -> Image | None:
        """By name, by `name@digest` (of the image or of the index it was chosen from) or by the digest alone."""
        if reference.startswith("sha256:"):
            return self._images.get(reference)
        wanted = parse_reference(reference)
        if wanted.digest and wanted.digest in self._images:
            return self._images[wanted.digest]
        name = str(wanted.pin if wanted.digest else wanted)
        return next((image for image in tuple(self._images.values()) if name in image.names), None)

    def manifest(self, digest: str) -> Manifest:
        """Raises `NotFound`, `Corrupt`, `Invalid`."""
        return parse_manifest(self.blobs.read(digest, DOCUMENT_LIMIT))

    def descriptor(self, digest: str) -> Descriptor:
        """Media type, digest and size of an image's manifest. Raises `NotFound`."""
        self.get(digest)
        return self._manifests[digest]

    def suits(self, image: Image, platform: Platform | None) -> bool:
        """Whether it is for that platform; None: this machine's."""
        return Platform(image.os, image.arch).suits(platform or Platform.here())

    def unpacked(self, digest: str) -> bool:
        return all(self._layers.has(diff_id) for diff_id in self.get(digest).layers)

    def layers(self, digest: str) -> list[Path]:
        """Directories of an image's layers, lowest first, as overlay wants to have them stacked."""
        image = self.get(digest)
        missing = [diff_id for diff_id in image.layers if not self._layers.has(diff_id)]
        if missing:
            self._unpack(digest)
        return [self._layers.path(diff_id) for diff_id in image.layers]

    def list(self) -> list[Image]:
        return sorted(self._images.values(), key=lambda image: (image.names, image.digest))

    def use(self, digest: str) -> None:
        """Notes that an image is wanted: what was not for the longest time is collected first."""
        with contextlib.suppress(OSError):
            os.utime(self.blobs.path(digest))

    def used(self, digest: str) -> float:
        """When it was last wanted, in seconds since 1970."""
        try:
            return self.blobs.path(digest).stat().st_mtime
        except OSError:
            return 0.0

    # changing

    @contextlib.contextmanager
    def arriving(self, *, sweep: bool = False) -> Iterator[None]:
        """While images arrive nothing is collected: their blobs do not belong to any image yet.

        With `sweep`, and always when the disk is full, what belongs to none in the end is collected then;
        otherwise a pull that failed leaves its whole blobs for the next one."""
        with self._lock:
            self._arriving += 1
        try:
            yield
        except NoRoom:
            sweep = True
            raise
        finally:
            with self._lock:
                self._arriving -= 1
                if sweep and not self._arriving:
                    self._shrink(self._images)

    def add(
        self,
        digest: str,
        names: Collection[str] = (),
        media_type: str = OCI_MANIFEST,
        *,
        unpack: bool = True,
    ) -> Image:
        """Takes in the image whose manifest is blob `digest`; its other blobs must be here.

        A name that another image bears moves to this one. Raises `Invalid`, `NotFound`, `Corrupt`,
        `Unsupported` (unpacking for another kind of machine), `Unavailable` (disk full)."""
        with self.arriving():
            image = self._describe(digest)
            if unpack:
                self._unpack(digest)
            with self._lock:
                self._images.setdefault(digest, image)
                self.damaged.pop(digest, None)
                self._manifests[digest] = Descriptor(
                    media_type, digest, self.blobs.path(digest).stat().st_size
                )
                self._name(digest, [str(parse_reference(name)) for name in names])
                self._write_index()
                return self._images[digest]

    def tag(self, digest: str, reference: str) -> Image:
        """Gives an image one more name, taking it from the image that had it."""
        name = str(parse_reference(reference))
        with self._lock:
            self.get(digest)
            self._name(digest, [name])
            self._write_index()
            return self._images[digest]

    def remove(self, reference: str, keep: Collection[str] = ()) -> int:
        """Takes a name away, and the image with its last name or by its digest; returns the bytes freed.

        Raises `NotFound`, and `Conflict` when the image's digest is in `keep`: containers use it."""
        with self._lock:
            image = self.find(reference)
            if image is None:
                raise NotFound(
                    f"this node has no image {reference}", hint="list the images to see their names"
                )
            names = tuple(name for name in image.names if name != _name_in(image, reference))
            if names and names != image.names:
                self._images[image.digest] = msgspec.structs.replace(image, names=names)
                self._write_index()
                return 0
            return self.drop(image.digest, keep)

    def drop(self, digest: str, keep: Collection[str] = ()) -> int:
        """Removes an image with all its names; returns the bytes freed. Raises `Conflict` as `remove`."""
        with self._lock:
            image = self.get(digest)
            if digest in keep:
                name = (image.names or (digest,))[0]
                raise Conflict(f"image {name} is in use", hint="remove the containers that run it first")
            return self._shrink({d: other for d, other in self._images.items() if d != digest})

    def usage(self) -> int:
        """Bytes that all blobs and unpacked layers take on the disk."""
        return self.blobs.usage() + self._layers.usage()

    def prune(self, keep: Collection[str] = ()) -> int:
        """Removes images without a name that are not in `keep`, and all that no image needs; bytes freed."""
        with self._lock:
            return self._shrink({d: image for d, image in self._images.items() if image.names or d in keep})

    def _shrink(self, images: dict[str, Image]) -> int:
        """Unpacked layers go first: they can be made again, and a full disk then has room for the new index."""
        idle = not self._arriving
        if idle:
            needed = {diff_id for image in images.values() for diff_id in image.layers}
            for diff_id in set(self._layers.diff_ids()) - needed:
                self._layers.remove(diff_id)
            self.blobs.forget_partial()
        self._images = images
        self._write_index()
        return self._collect_blobs() if idle else 0

    def _collect_blobs(self) -> int:
        """A damaged manifest hides which blobs are needed: nothing is collected until its image is healed."""
        needed = set(self._images)
        for digest in self._images:
            try:
                manifest = self.manifest(digest)
            except HivemindError as error:
                self.damaged.setdefault(digest, error)
                return 0
            needed |= {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        return sum(self.blobs.remove(blob) for blob in set(self.blobs.digests()) - needed)

    def _name(self, digest: str, names: Collection[str]) -> None:
        for other in list(self._images.values()):
            left = tuple(name for name in other.names if name not in names)
            if other.digest != digest and left != other.names:
                self._images[other.digest] = msgspec.structs.replace(other, names=left)
        image = self._images[digest]
        self._images[digest] = msgspec.structs.replace(
            image, names=tuple(dict.fromkeys((*image.names, *names)))
        )

    def _describe(self, digest: str) -> Image:
        manifest = self.manifest(digest)
        for layer in manifest.layers:
            if not self.blobs.has(layer.digest):
                raise NotFound(
                    f"layer {layer.digest} of the image is missing", hint="the archive is incomplete"
                )
        configuration = parse_configuration(self.blobs.read(manifest.config.digest, DOCUMENT_LIMIT), manifest)
        return Image(
            digest=digest,
            names=(),
            config=configuration.start,
            layers=configuration.rootfs.diff_ids,
            size=sum(
                self.blobs.path(blob.digest).stat().st_size for blob in (manifest.config, *manifest.layers)
            ),
            os=configuration.os or "linux",
            arch=configuration.architecture or this_architecture(),
            created=configuration.created_ms,
        )

    def _unpack(self, digest: str) -> None:
        manifest = self.manifest(digest)
        configuration = parse_configuration(self.blobs.read(manifest.config.digest, DOCUMENT_LIMIT), manifest)
        check_platform(configuration)
        for blob, diff_id in zip(manifest.layers, configuration.rootfs.diff_ids, strict=True):
            self._layers.ensure(blob.digest, diff_id)

    def _write_index(self) -> None:
        descriptors = []
        for image in self._images.values():
            for name in image.names or ("",):
                notes = {NAME: name, REF_NAME: parse_reference(name).tag} if name else None
                descriptors.append(msgspec.structs.replace(self._manifests[image.digest], annotations=notes))
        data, path = encode(Index(manifests=tuple(descriptors))), self.root / "index.json"
        if not path.exists() or path.read_bytes() != data:
            write_durably(path, data, self.blobs.incoming)


def _name_in(image: Image, reference: str) -> str:
    """Which of an image's names a person means; empty when it is the image itself, by its digest."""
    if reference.startswith("sha256:"):
        return ""
    wanted = parse_reference(reference)
    return str(wanted.pin if wanted.digest else wanted)
