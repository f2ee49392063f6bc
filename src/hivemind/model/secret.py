"""The secret: what apps need and nobody shall read. Sealed before it is agreed; only containers get it open."""

from __future__ import annotations

from typing import Literal

from hivemind.model.base import Document, Spec
from hivemind.model.mount import Key
from hivemind.model.names import Name
from hivemind.model.resource import Column, Resource


class SecretManifest(Spec, frozen=True, kw_only=True):
    name: Name
    labels: dict[str, str] = {}
    data: dict[Key, str] = {}
    binary: dict[Key, bytes] = {}
    """What is not text, in base64."""


class SecretDocument(Document, frozen=True, kw_only=True):
    """No value, nor how long one is."""

    kind: Literal["Secret"] = "Secret"
    project: str
    name: str
    labels: dict[str, str]
    version: int
    number: int
    """Rises with each change of what it holds."""
    keys: tuple[str, ...]
    used_by: tuple[str, ...]
    """Apps of the project."""
    created: int
    updated: int


SECRET = Resource(
    kind="Secret",
    plural="secrets",
    short="sec",
    scope="project",
    document=SecretDocument,
    manifest=SecretManifest,
    deletable=True,
    columns=(
        Column("NAME", "name"),
        Column("KEYS", "keys", format="list"),
        Column("NUMBER", "number", wide=True),
        Column("USED BY", "used_by", format="list"),
        Column("AGE", "created", format="age"),
    ),
)
