"""The JSON documents of OCI and docker images, read with suspicion into structs."""

from __future__ import annotations

import platform
from datetime import datetime
from typing import TypeVar

import msgspec

from hivemind.drivers.images.blobs import hex_of
from hivemind.drivers.images.healthcheck import HealthConfig, check_of
from hivemind.errors import Invalid, Unsupported
from hivemind.model.image import ImageConfig

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

INDEXES = frozenset((OCI_INDEX, DOCKER_LIST))
MANIFESTS = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
ACCEPTED = ", ".join((OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST))

DOCUMENT_LIMIT = 4 * 2**20
"""Bytes of a manifest, index or configuration. Registries refuse larger manifests too."""
LAYERS_LIMIT = 500
"""The kernel's overlay takes so many lower directories."""
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"

T = TypeVar("T")


class Platform(msgspec.Struct, frozen=True, rename="lower"):
    os: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @staticmethod
    def here() -> Platform:
        return Platform("linux", this_architecture())

    @staticmethod
    def read(text: str) -> Platform:
        """`linux/arm64` or `linux/arm/v7`. Raises `Invalid`."""
        parts = text.lower().split("/")
        if not 2 <= len(parts) <= 3 or not all(part.isalnum() for part in parts):
            raise Invalid(f"{text!r} is not a platform", hint="write it like linux/amd64 or linux/arm/v7")
        return Platform(*parts)

    def suits(self, wanted: Platform) -> bool:
        """A variant matters only to those who ask for one."""
        same = (self.os, self.architecture) == (wanted.os, wanted.architecture)
        return same and wanted.variant in ("", self.variant)


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] | None = None
    platform: Platform | None = None


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    config: Descriptor
    layers: tuple[Descriptor, ...]
    schema_version: int = 2
    media_type: str = OCI_MANIFEST


class Index(msgspec.Struct, frozen=True, rename="camel"):
    manifests: tuple[Descriptor, ...]
    schema_version: int = 2
    media_type: str = OCI_INDEX


class SavedImage(msgspec.Struct, frozen=True, rename="pascal"):
    """One image in the `manifest.json` of docker's archives; paths within the archive."""

    config: str
    layers: tuple[str, ...]
    repo_tags: tuple[str, ...] | None = None


class _Start(msgspec.Struct, frozen=True, rename="pascal"):
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    user: str | None = None
    working_dir: str | None = None
    stop_signal: str | None = None
    exposed_ports: dict[str, object] | None = None
    labels: dict[str, str] | None = None
    healthcheck: HealthConfig | None = None
    shell: list[str] | None = None


class _Rootfs(msgspec.Struct, frozen=True):
    diff_ids: tuple[str, ...]


class Configuration(msgspec.Struct, frozen=True):
    rootfs: _Rootfs
    config: _Start | None = None
    architecture: str = ""
    os: str = ""
    variant: str = ""
    created: str | None = None

    @property
    def start(self) -> ImageConfig:
        given = self.config or _Start()
        return ImageConfig(
            entrypoint=tuple(given.entrypoint or ()),
            command=tuple(given.cmd or ()),
            env=tuple(given.env or ()),
            user=given.user or "",
            workdir=given.working_dir or "/",
            stop_signal=given.stop_signal or "SIGTERM",
            ports=tuple(sorted(given.exposed_ports or ())),
            labels=given.labels or {},
            healthcheck=check_of(given.healthcheck, given.shell),
        )

    @property
    def created_ms(self) -> int:
        """Milliseconds since 1970; 0 when the image does not say or says nonsense."""
        try:
            return max(0, int(datetime.fromisoformat(self.created or "").timestamp() * 1000))
        except (ValueError, OverflowError):
            return 0


def parse(data: bytes, type: type[T], what: str) -> T:
    """Raises `Invalid` with what is wrong and where."""
    if len(data) > DOCUMENT_LIMIT:
        raise Invalid(f"{what} is {len(data)} bytes long; {DOCUMENT_LIMIT} are allowed")
    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(
            f"{what} cannot be read: {error}", hint="the image is damaged or of an unknown format"
        ) from None


def layer_type(start: bytes) -> str:
    """The media type of a layer by its first bytes."""
    packed = "+gzip" if start.startswith(GZIP) else "+zstd" if start.startswith(ZSTD) else ""
    return OCI_LAYER + packed


def name_of(descriptor: Descriptor) -> str:
    """Tools write a full name into either annotation; a bare tag names nothing."""
    notes = descriptor.annotations or {}
    name = notes.get(NAME) or notes.get(REF_NAME, "")
    return name if NAME in notes or ":" in name or "/" in name else ""


def parse_manifest(data: bytes) -> Manifest:
    manifest = parse(data, Manifest, "the image's manifest")
    if len(manifest.layers) > LAYERS_LIMIT:
        raise Invalid(f"the image has {len(manifest.layers)} layers; at most {LAYERS_LIMIT} can be stacked")
    for blob in (manifest.config, *manifest.layers):
        hex_of(blob.digest)
        if blob.size < 0:
            raise Invalid(f"the image's manifest gives blob {blob.digest} a size of {blob.size}")
    return manifest


def parse_configuration(data: bytes, manifest: Manifest) -> Configuration:
    configuration = parse(data, Configuration, "the image's configuration")
    for diff_id in configuration.rootfs.diff_ids:
        hex_of(diff_id)
    if len(configuration.rootfs.diff_ids) != len(manifest.layers):
        raise Invalid(
            f"the image's manifest has {len(manifest.layers)} layers but its configuration "
            f"names {len(configuration.rootfs.diff_ids)}",
            hint="the image is damaged; build or push it again",
        )
    return configuration


def this_architecture() -> str:
    machine = platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}.get(machine, machine)


def check_platform(configuration: Configuration, wanted: Platform | None = None) -> None:
    """Raises `Unsupported` for an image of another platform than the wanted one, or this machine's."""
    wanted = wanted or Platform.here()
    if configuration.os in ("", wanted.os) and configuration.architecture in ("", wanted.architecture):
        return
    asked = f"{wanted} was asked for" if wanted != Platform.here() else f"this machine is {wanted}"
    raise Unsupported(
        f"the image is for {configuration.os}/{configuration.architecture}; {asked}",
        hint="use an image that is built for this machine",
    )


def choose(index: Index, wanted: Platform | None = None) -> Descriptor:
    """The manifest for a platform, None for this machine's. Raises `Unsupported` naming what there is instead."""
    wanted = wanted or Platform.here()
    if len(index.manifests) == 1 and index.manifests[0].platform is None:
        return index.manifests[0]
    for descriptor in index.manifests:
        if descriptor.platform and descriptor.platform.suits(wanted):
            hex_of(descriptor.digest)
            return descriptor
    found = sorted({str(d.platform) for d in index.manifests if d.platform and d.platform.os != "unknown"})
    raise Unsupported(
        f"the image is not made for {wanted}, only for {', '.join(found) or 'nothing'}",
        hint="use an image that is built for this machine",
    )
