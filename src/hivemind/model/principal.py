"""The principal: whose key may sign operations, and in which role."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Literal

from msgspec import Meta

from hivemind.model.base import Document, Record, Spec
from hivemind.model.names import Name
from hivemind.model.resource import Column, Resource


class Role(IntEnum):
    """Each role may do everything that the roles below it may."""

    VIEWER = 0
    OPERATOR = 1
    """Writes apps and everything in projects."""
    ADMIN = 2
    """Also nodes, projects and principals."""


class Principal(Record, frozen=True, kw_only=True):
    """A person or a node. `id` is the Ed25519 public key in hex."""

    id: str
    name: str
    kind: str
    """`person` or `node`."""
    role: Role = Role.VIEWER
    version: int = 1
    created: int = 0
    updated: int = 0
    since: int = 0
    """Sequence of the batch that let it in, this time; 0: that was before it mattered."""


PublicKey = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="an Ed25519 public key: 64 lower-case hex digits")
]


class PrincipalManifest(Spec, frozen=True, kw_only=True):
    """A person that is let in. The private key, of which a token is made, never leaves whoever made it."""

    name: Name
    role: Literal["viewer", "operator", "admin"]
    key: PublicKey


class PrincipalDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Principal"] = "Principal"
    name: str
    type: Literal["person", "node"]
    role: str
    """Empty for nodes: they report and have no wishes."""
    key: str
    version: int
    created: int


PRINCIPAL = Resource(
    kind="Principal",
    plural="principals",
    short="who",
    scope="hive",
    document=PrincipalDocument,
    manifest=PrincipalManifest,
    deletable=True,
    columns=(
        Column("NAME", "name"),
        Column("TYPE", "type"),
        Column("ROLE", "role"),
        Column("KEY", "key", format="short"),
        Column("AGE", "created", format="age"),
    ),
)
