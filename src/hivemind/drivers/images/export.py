"""Images as one tar that every tool reads: an OCI image layout, and docker's `manifest.json` beside it.

Both describe the same blobs. Older docker knows no zstd, so for its `manifest.json` such a layer stands in the
tar a second time, plain.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator

from hivemind.drivers.images.manifest import NAME, REF_NAME, ZSTD, Descriptor, Index, SavedImage
from hivemind.drivers.images.plain import decompressed
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.images.tarball import CHUNK
from hivemind.model.base import encode
from hivemind.model.image import Image, parse_reference

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def archive(store: ImageStore, digests: Iterable[str], names: Iterable[str] | None = None) -> Iterator[bytes]:
    """The tar in pieces. `names`: which of the images' names it tells; None: all of them.

    Raises `NotFound` before the first piece for what is not here."""
    images = [store.get(digest) for digest in dict.fromkeys(digests)]
    return _pieces(store, images, None if names is None else frozenset(names))


def _pieces(store: ImageStore, images: list[Image], wanted: frozenset[str] | None) -> Iterator[bytes]:
    yield from _member("oci-layout", _LAYOUT)
    yield from _member("index.json", encode(Index(manifests=tuple(_index(store, images, wanted)))))
    there: set[str] = set()
    saved = []
    for image in images:
        manifest = store.manifest(image.digest)
        for digest in (image.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)):
            if digest not in there:
                there.add(digest)
                yield from _blob(store, digest)
        layers = []
        for layer in manifest.layers:
            name = _path(layer.digest)
            if _is_zstd(store, layer.digest):
                name = f"{layer.digest.removeprefix('sha256:')}/layer.tar"
                if name not in there:
                    there.add(name)
                    yield from _plain(store, layer.digest, name)
            layers.append(name)
        saved.append(
            SavedImage(
                config=_path(manifest.config.digest), layers=tuple(layers), repo_tags=_tags(image, wanted)
            )
        )
    yield from _member("manifest.json", encode(tuple(saved)))
    yield bytes(2 * tarfile.BLOCKSIZE)


def _index(store: ImageStore, images: list[Image], wanted: frozenset[str] | None) -> Iterator[Descriptor]:
    for image in images:
        found = store.descriptor(image.digest)
        for name in _tags(image, wanted) or ("",):
            notes = {NAME: str(parse_reference(name)), REF_NAME: parse_reference(name).tag} if name else None
            yield Descriptor(found.media_type, found.digest, found.size, notes)


def _tags(image: Image, wanted: frozenset[str] | None) -> tuple[str, ...]:
    """Names as docker writes them; names by digest are none in an archive."""
    told = [name for name in image.names if "@" not in name and (wanted is None or name in wanted)]
    return tuple(parse_reference(name).familiar for name in told)


def _path(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _member(name: str, data: bytes) -> Iterator[bytes]:
    yield _header(name, len(data)) + data + _padding(len(data))


def _blob(store: ImageStore, digest: str) -> Iterator[bytes]:
    with store.blobs.open_blob(digest) as file:
        size = file.seek(0, 2)
        file.seek(0)
        yield _header(_path(digest), size)
        while data := file.read(CHUNK):
            yield data
        if padding := _padding(size):
            yield padding


def _is_zstd(store: ImageStore, digest: str) -> bool:
    with store.blobs.open_blob(digest) as file:
        return file.read(4) == ZSTD


def _plain(store: ImageStore, digest: str, name: str) -> Iterator[bytes]:
    """A tar says a file's size first, so the layer is read twice."""
    size = 0
    with store.blobs.open_blob(digest) as file, decompressed(file) as plain:
        while data := plain.read(CHUNK):
            size += len(data)
    yield _header(name, size)
    with store.blobs.open_blob(digest) as file, decompressed(file) as plain:
        while data := plain.read(CHUNK):
            yield data
    if padding := _padding(size):
        yield padding
