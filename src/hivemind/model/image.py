"""Image references and what a node knows of the images it holds."""

from __future__ import annotations

import re
from typing import Literal

from hivemind.errors import Invalid
from hivemind.model.base import Document, Record
from hivemind.model.check import Check
from hivemind.model.resource import Column, Resource

DEFAULT_REGISTRY = "docker.io"
_DOMAIN = re.compile(
    r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:\d)|\[[0-9a-fA-F:]+\])(?::\d{1,5})?"
)
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Reference(Record, frozen=True, kw_only=True):
    """A parsed image reference. `str()` of it is its full, canonical form."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"

    @property
    def pin(self) -> Reference:
        """Without the tag, which says nothing beside a digest."""
        return Reference(registry=self.registry, repository=self.repository, digest=self.digest)

    @property
    def familiar(self) -> str:
        """As people write it: `nginx:latest` for `docker.io/library/nginx:latest`."""
        return str(self).removeprefix(f"{DEFAULT_REGISTRY}/library/").removeprefix(f"{DEFAULT_REGISTRY}/")


def parse_reference(text: str) -> Reference:
    """`nginx`, `nginx:1.25`, `ghcr.io/o/app@sha256:…`, `localhost:5000/x` -> a full reference (docker's rules)."""
    hint = "write it like nginx:latest or registry.example.com/team/app:1.0"
    rest, _, digest = text.partition("@")
    if (digest and not _DIGEST.fullmatch(digest)) or text.endswith("@"):
        raise Invalid(f"{text!r} has a malformed digest", hint="a digest is sha256: and 64 hex digits")
    first, slash, tail = rest.partition("/")
    registry = DEFAULT_REGISTRY
    if slash and (_DOMAIN.fullmatch(first) or first == "localhost"):
        registry, rest = first, tail
    repository, colon, tag = rest.rpartition(":")
    if not colon:
        repository, tag = rest, ""
    if not _PATH.fullmatch(repository) or (colon and not _TAG.fullmatch(tag)) or len(repository) > 255:
        raise Invalid(f"{text!r} is not an image reference", hint=hint)
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    return Reference(
        registry=registry, repository=repository, tag=tag or ("" if digest else "latest"), digest=digest
    )


class ImageConfig(Record, frozen=True, kw_only=True):
    """The part of an OCI image configuration that decides how its containers start."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = "/"
    stop_signal: str = "SIGTERM"
    ports: tuple[str, ...] = ()
    """`"80/tcp"`."""
    labels: dict[str, str] = {}
    healthcheck: Check | None = None
    """docker's HEALTHCHECK."""


class Image(Record, frozen=True, kw_only=True):
    """An image that this node holds, all its blobs verified."""

    digest: str
    """Digest of the manifest for this platform."""
    names: tuple[str, ...]
    """Canonical references that point to it."""
    config: ImageConfig
    layers: tuple[str, ...] = ()
    """diff ids, lowest first."""
    size: int = 0
    """Bytes of its compressed blobs."""
    os: str = "linux"
    arch: str = "amd64"
    created: int = 0


class Layer(Record, frozen=True, kw_only=True):
    digest: str
    """Of the blob, as it came."""
    diff_id: str
    """Of its content."""
    size: int
    media_type: str


class ImageDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Image"] = "Image"
    name: str
    id: str
    """The digest."""
    names: tuple[str, ...]
    size: int
    os: str
    arch: str
    created: int
    in_use: int


class ImageDetails(Document, frozen=True, kw_only=True):
    """What `image inspect` shows."""

    id: str
    names: tuple[str, ...]
    config: ImageConfig
    config_digest: str
    layers: tuple[Layer, ...]
    size: int
    os: str
    arch: str
    created: int
    used: int
    """When it was last wanted, in milliseconds since 1970."""
    in_use: int


IMAGE = Resource(
    kind="Image",
    plural="images",
    short="img",
    scope="hive",
    document=ImageDocument,
    columns=(
        Column("NAME", "name"),
        Column("DIGEST", "id", format="short"),
        Column("SIZE", "size", format="bytes"),
        Column("PLATFORM", "arch"),
        Column("IN USE", "in_use"),
    ),
)
