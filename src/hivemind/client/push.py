"""Archives of images pushed to a node as a registry would be: only the layers that it lacks travel."""

from __future__ import annotations

import hashlib
import posixpath
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

import msgspec

from hivemind.client.connection import Connection
from hivemind.drivers.images.manifest import (
    DOCUMENT_LIMIT,
    INDEXES,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    SavedImage,
    layer_type,
    name_of,
    parse,
    parse_manifest,
)
from hivemind.drivers.images.plain import DAMAGED, decompressed
from hivemind.errors import Invalid, NotFound
from hivemind.model.answers import PROBLEM_FORMAT
from hivemind.model.base import encode
from hivemind.model.image import Reference, parse_reference

OnSent = Callable[[int, int], None]
_CHUNK = 1 << 18
_PLAIN = {"Accept": PROBLEM_FORMAT}
"""Errors shall come as the rest of the API tells them."""
_SILENCE = 1800.0


class PushedImage(msgspec.Struct, frozen=True):
    name: str
    digest: str
    size: int
    sent: int
    """Bytes that had to travel."""


class _Image(msgspec.Struct, frozen=True):
    """What is to be pushed: where each blob lies in the archive."""

    name: str
    manifest: bytes
    media_type: str
    blobs: tuple[tuple[Descriptor, str], ...]


def push_archive(
    connection: Connection, path: str, name: str = "", on_sent: OnSent | None = None
) -> list[PushedImage]:
    """All images of a `docker save` or OCI archive. Raises `Invalid` for what is none, or has no name."""
    with _opened(path) as archive:
        images = _images(archive)
        if name:
            if len(images) != 1:
                raise Invalid(f"{path} holds {len(images)} images, so one name does not do")
            images = [msgspec.structs.replace(images[0], name=name)]
        total = sum(blob.size for image in images for blob, _ in image.blobs)
        pushing = _Pushing(connection, archive, total, on_sent)
        return [pushing.push(image, path) for image in images]


class _Pushing:
    def __init__(
        self, connection: Connection, archive: tarfile.TarFile, total: int, on_sent: OnSent | None
    ) -> None:
        self.connection = connection
        self.archive = archive
        self.total = total
        self.on_sent = on_sent
        self.done = 0

    def push(self, image: _Image, path: str) -> PushedImage:
        if not image.name:
            raise Invalid(
                "an image of the archive has no name",
                hint=f"give it one: hivemind image push {path} team/web:1",
            )
        reference = parse_reference(image.name)
        home = f"/v2/{quote(_repository(reference), safe='/:')}"
        sent = sum(self._send(home, blob, member) for blob, member in image.blobs)
        self.connection.call(
            "PUT",
            f"{home}/manifests/{reference.tag}",
            body=image.manifest,
            headers={"Content-Type": image.media_type, **_PLAIN},
            timeout=_SILENCE,
        )
        return PushedImage(
            name=reference.familiar,
            digest="sha256:" + hashlib.sha256(image.manifest).hexdigest(),
            size=sum(blob.size for blob, _ in image.blobs),
            sent=sent,
        )

    def _send(self, home: str, blob: Descriptor, member: str) -> int:
        if self._is_there(home, blob):
            self._advance(blob.size)
            return 0
        where = self.connection.call("POST", f"{home}/blobs/uploads/", body=b"", headers=_PLAIN).headers[
            "location"
        ]
        self.connection.call(
            "PUT",
            f"{where}?digest={blob.digest}",
            body=self._pieces(member),
            headers={"Content-Type": "application/octet-stream", **_PLAIN},
            timeout=_SILENCE,
        )
        return blob.size

    def _is_there(self, home: str, blob: Descriptor) -> bool:
        try:
            self.connection.call(
                "GET", f"{home}/blobs/{blob.digest}", headers={"Range": "bytes=0-0", **_PLAIN}
            )
        except NotFound:
            return False
        return True

    def _pieces(self, member: str) -> Iterator[bytes]:
        with _member(self.archive, member) as file:
            while data := file.read(_CHUNK):
                yield data
                self._advance(len(data))

    def _advance(self, more: int) -> None:
        self.done += more
        if self.on_sent:
            self.on_sent(self.done, self.total)


def _repository(reference: Reference) -> str:
    """What the node calls it: the whole name, without the registry where that is docker's."""
    return reference.familiar.removesuffix(f":{reference.tag}")


@contextmanager
def _opened(path: str) -> Iterator[tarfile.TarFile]:
    """Compressed archives are unpacked aside first: their files are read in no order."""
    with Path(path).open("rb") as file, tempfile.TemporaryFile() as aside:
        try:
            with decompressed(file) as plain:
                if plain is not file:
                    shutil.copyfileobj(plain, aside, _CHUNK)
            source = aside if aside.tell() else file
            source.seek(0)
            with tarfile.open(fileobj=source, mode="r:") as archive:
                yield archive
        except (tarfile.TarError, *DAMAGED) as error:
            raise Invalid(
                f"{path} is not an image archive: {error}", hint="write one with: docker save -o FILE NAME"
            ) from None


def _images(archive: tarfile.TarFile) -> list[_Image]:
    names = {posixpath.normpath(name) for name in archive.getnames()}
    if "index.json" in names:
        index = parse(_bytes(archive, "index.json"), Index, "the archive's index.json")
        return [image for descriptor in index.manifests for image in _of_layout(archive, descriptor)]
    if "manifest.json" in names:
        saved = parse(_bytes(archive, "manifest.json"), tuple[SavedImage, ...], "the archive's manifest.json")
        return [image for each in saved for image in _of_saved(archive, each)]
    raise Invalid("the archive holds no image", hint="an exported file system is none; use docker save")


def _of_layout(archive: tarfile.TarFile, descriptor: Descriptor, name: str = "") -> list[_Image]:
    name = name or name_of(descriptor)
    data = _bytes(archive, _blob(descriptor.digest))
    if descriptor.media_type in INDEXES:
        inner = parse(data, Index, "the archive's index").manifests
        return _of_layout(archive, _for_anyone(archive, inner), name)
    manifest = parse_manifest(data)
    blobs = tuple((blob, _blob(blob.digest)) for blob in (manifest.config, *manifest.layers))
    return [_Image(name, data, descriptor.media_type, blobs)]


def _for_anyone(archive: tarfile.TarFile, manifests: tuple[Descriptor, ...]) -> Descriptor:
    """The first that the archive really holds: whoever saved one platform left the others out."""
    there = set(archive.getnames())
    for descriptor in manifests:
        if _blob(descriptor.digest) in there:
            return descriptor
    raise Invalid("the archive's index points to nothing in it", hint="save it again")


def _of_saved(archive: tarfile.TarFile, saved: SavedImage) -> list[_Image]:
    config = _measured(archive, saved.config, OCI_CONFIG)
    layers = [_measured(archive, layer, "") for layer in saved.layers]
    manifest = Manifest(config=config, layers=tuple(layers))
    blobs = tuple(zip((config, *layers), (saved.config, *saved.layers), strict=True))
    return [_Image(name, encode(manifest), OCI_MANIFEST, blobs) for name in saved.repo_tags or ("",)]


def _measured(archive: tarfile.TarFile, member: str, media_type: str) -> Descriptor:
    digest, size, start = hashlib.sha256(), 0, b""
    with _member(archive, member) as file:
        while data := file.read(_CHUNK):
            start = start or data[:4]
            digest.update(data)
            size += len(data)
    return Descriptor(media_type or layer_type(start), f"sha256:{digest.hexdigest()}", size)


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


@contextmanager
def _member(archive: tarfile.TarFile, name: str) -> Iterator[IO[bytes]]:
    """Links are followed within the archive, as old archives of docker have them."""
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise Invalid(f"the archive names {name!r} but does not hold it", hint="it is incomplete")
    with file:
        yield file


def _bytes(archive: tarfile.TarFile, name: str) -> bytes:
    with _member(archive, name) as file:
        data = file.read(DOCUMENT_LIMIT + 1)
    if len(data) > DOCUMENT_LIMIT:
        raise Invalid(f"{name} of the archive is larger than {DOCUMENT_LIMIT} bytes")
    return data
