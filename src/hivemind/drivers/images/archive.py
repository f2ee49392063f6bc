"""Image archives: what `docker save` writes and OCI image layouts in a tar, plain or compressed.

The tar is read once from front to back and every file in it becomes a blob at once, so memory stays small
whatever the archive's size and order; only then is it looked up what these blobs are. What belongs to no
image is swept away at the end.
"""

from __future__ import annotations

import posixpath
import tarfile
from pathlib import Path
from typing import IO

from hivemind.drivers.images.blobs import Blobs
from hivemind.drivers.images.manifest import (
    DOCUMENT_LIMIT,
    INDEXES,
    OCI_CONFIG,
    Descriptor,
    Index,
    Manifest,
    SavedImage,
    T,
    choose,
    layer_type,
    name_of,
    parse,
)
from hivemind.drivers.images.plain import DAMAGED, decompressed
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.images.tarball import CHUNK, entries, opened
from hivemind.errors import Invalid, NotFound, TooLarge
from hivemind.model.base import encode
from hivemind.model.image import Image, parse_reference

MEMBERS_LIMIT = 20_000
NESTING_LIMIT = 3


def load(store: ImageStore, path: Path, *, unpack: bool = True) -> list[Image]:
    """All images of an archive. Raises `Invalid` for what is no image archive, else as `ImageStore.add`."""
    with store.arriving(sweep=True), path.open("rb") as file:
        try:
            with decompressed(file) as plain:
                members = _take_in(store.blobs, plain)
        except (tarfile.TarError, *DAMAGED, ValueError, OverflowError) as error:
            raise Invalid(
                f"this is not an image archive: {error}",
                hint="write one with `docker save -o image.tar NAME` or `skopeo copy … oci-archive:image.tar`",
            ) from error
        if "index.json" in members:
            return _load_layout(store, members, unpack)
        if "manifest.json" in members:
            return _load_saved(store, members, unpack)
    raise Invalid(
        "the archive holds neither index.json nor manifest.json, so it is no image",
        hint="an exported file system is not an image; use `docker save`, not `docker export`",
    )


def _take_in(blobs: Blobs, stream: IO[bytes]) -> dict[str, str]:
    """The digest of each file in the archive by its path."""
    members: dict[str, str] = {}
    links: dict[str, str] = {}
    with opened(stream) as archive:
        for entry in entries(archive):
            name = posixpath.normpath(entry.name)
            if len(members) + len(links) > MEMBERS_LIMIT:
                raise TooLarge(
                    f"the archive has more than {MEMBERS_LIMIT} files", hint="is it an image archive?"
                )
            if entry.issym():
                links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.linkname))
            elif entry.islnk():
                links[name] = posixpath.normpath(entry.linkname)
            elif entry.isreg() and (source := archive.extractfile(entry)):
                with blobs.receive() as incoming:
                    while data := source.read(CHUNK):
                        incoming.write(data)
                    members[name] = incoming.commit()
    for name, target in links.items():
        if target in members:
            members[name] = members[target]
    return members


def _load_layout(store: ImageStore, members: dict[str, str], unpack: bool) -> list[Image]:
    index = _read(store, members, "index.json", Index)
    images = [_add_layout_image(store, descriptor, unpack) for descriptor in index.manifests]
    if not images:
        raise Invalid("the archive's index names no image", hint="build or save it again")
    return images


def _add_layout_image(store: ImageStore, descriptor: Descriptor, unpack: bool) -> Image:
    names = [name] if (name := name_of(descriptor)) else []
    for _ in range(NESTING_LIMIT):
        if descriptor.media_type not in INDEXES:
            return store.add(descriptor.digest, names, descriptor.media_type, unpack=unpack)
        inner = parse(store.blobs.read(descriptor.digest, DOCUMENT_LIMIT), Index, "the archive's inner index")
        descriptor = choose(inner)
    raise Invalid("the archive's indexes point to each other too deeply", hint="build or save it again")


def _load_saved(store: ImageStore, members: dict[str, str], unpack: bool) -> list[Image]:
    images = []
    for saved in _read(store, members, "manifest.json", tuple[SavedImage, ...]):
        config = _descriptor(store, OCI_CONFIG, _member(members, saved.config))
        layers = [_descriptor(store, "", _member(members, layer)) for layer in saved.layers]
        body = encode(Manifest(config=config, layers=tuple(layers)))
        images.append(
            store.add(
                store.blobs.put(body), [str(parse_reference(t)) for t in saved.repo_tags or ()], unpack=unpack
            )
        )
    if not images:
        raise Invalid("the archive's manifest.json names no image", hint="save it again")
    return images


def _descriptor(store: ImageStore, media_type: str, digest: str) -> Descriptor:
    path = store.blobs.path(digest)
    if not media_type:
        with path.open("rb") as file:
            media_type = layer_type(file.read(4))
    return Descriptor(media_type, digest, path.stat().st_size)


def _member(members: dict[str, str], name: str) -> str:
    try:
        return members[posixpath.normpath(name)]
    except KeyError:
        raise NotFound(f"the archive names {name!r} but does not hold it", hint="it is incomplete") from None


def _read(store: ImageStore, members: dict[str, str], name: str, type: type[T]) -> T:
    return parse(store.blobs.read(members[name], DOCUMENT_LIMIT), type, f"the archive's {name}")
