"""The registry: where images come from, and how the hive signs in there."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta

from hivemind.errors import Invalid
from hivemind.model.base import Document, Record, Spec
from hivemind.model.image import DEFAULT_REGISTRY
from hivemind.model.resource import Column, Resource

_HOST = r"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?"
_HUB = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com")

Host = Annotated[
    str,
    Meta(
        pattern=rf"^{_HOST}\Z",
        max_length=260,
        description="a registry as it stands in images' names: docker.io, registry.example.com:5000",
    ),
]
Mirror = Annotated[
    str,
    Meta(
        pattern=rf"^(https?://)?{_HOST}/?\Z",
        max_length=300,
        description="a host, or https://host; http:// is plain HTTP",
    ),
]


class ImageRegistry(Record, frozen=True, kw_only=True):
    """Agreed, so that every node signs in alike; only the hive's key opens `sealed`."""

    name: str
    username: str = ""
    sealed: bytes = b""
    """`Credential` as JSON, sealed; empty: nobody signs in."""
    insecure: bool = False
    ca: str = ""
    mirrors: tuple[str, ...] = ()
    version: int = 1
    created: int = 0
    updated: int = 0


class Credential(Record, frozen=True, kw_only=True):
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return "Credential(…)"


class RegistryManifest(Spec, frozen=True, kw_only=True):
    """`password` and `identity_token` are never shown again. Without them those of the same user stay."""

    name: Host
    username: Annotated[str, Meta(max_length=255)] = ""
    password: Annotated[str, Meta(max_length=65536)] | None = None
    identity_token: Annotated[str, Meta(max_length=65536)] | None = None
    """Some registries hand one out in place of keeping the password."""
    insecure: bool = False
    """Certificates are not looked at, and plain HTTP will do."""
    ca: Annotated[str, Meta(max_length=262144)] = ""
    """PEM text of authorities to trust beside the machine's."""
    mirrors: Annotated[tuple[Mirror, ...], Meta(max_length=16)] = ()
    """Asked before the registry itself, in this order."""

    def __repr__(self) -> str:
        """Without what must not be logged."""
        return f"RegistryManifest(name={self.name!r}, username={self.username!r})"

    @property
    def credential(self) -> Credential | None:
        """None: the one that is there stays."""
        if self.password is None and self.identity_token is None:
            return None
        return Credential(password=self.password or "", identity_token=self.identity_token or "")

    def validate(self) -> None:
        """What the types alone cannot say. Raises `Invalid`."""
        if self.name != registry_host(self.name):
            raise Invalid(
                f"{self.name!r} is not how images name that registry",
                hint=f"call it {registry_host(self.name)}",
            )
        if self.password and not self.username:
            raise Invalid("a password is given without a user", hint="give the user, too: --username NAME")
        if ":" in self.username:
            raise Invalid("a user's name cannot have a colon in it")
        if self.ca and "-----BEGIN CERTIFICATE-----" not in self.ca:
            raise Invalid("the authority given is not a certificate in PEM form", hint="give a PEM file")
        if self.ca and self.insecure:
            raise Invalid(
                "insecure looks at no certificate, so an authority is of no use", hint="give one of both"
            )


def registry_host(text: str) -> str:
    """A registry as images' names have it: docker's files call docker.io `https://index.docker.io/v1/`."""
    host = re.sub(r"^https?://", "", text.strip()).partition("/")[0].lower()
    return DEFAULT_REGISTRY if host in _HUB else host


def sealing_context(host: str) -> str:
    return f"registry/{host}/credential"


class RegistryDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Registry"] = "Registry"
    name: str
    username: str
    signed_in: bool
    insecure: bool
    ca: str
    mirrors: tuple[str, ...]
    version: int
    created: int
    updated: int


REGISTRY = Resource(
    kind="Registry",
    plural="registries",
    short="reg",
    scope="hive",
    document=RegistryDocument,
    manifest=RegistryManifest,
    deletable=True,
    columns=(
        Column("NAME", "name"),
        Column("USER", "username"),
        Column("SIGNED IN", "signed_in"),
        Column("MIRRORS", "mirrors", format="list"),
        Column("INSECURE", "insecure", wide=True),
        Column("AGE", "created", format="age"),
    ),
)
