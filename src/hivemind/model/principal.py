"""The principal: whose key may sign operations, and in which role."""

from __future__ import annotations

from enum import IntEnum

from hivemind.model.base import Record


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
    created: int = 0
