"""What people see of the hive as a group of nodes, and what they ask of it: documents and requests of `/v1/cluster`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hivemind.model.answers import Problem
from hivemind.model.base import Document, Spec
from hivemind.model.hive import Engine, NodeRole
from hivemind.model.names import Name
from hivemind.model.quantity import Seconds

Reach = Literal["self", "alive", "suspect", "dead", "left", "unknown"]
"""What this node's membership sees of another: a hint, never a verdict."""


class ClusterMember(Document, frozen=True, kw_only=True):
    id: str
    name: str
    role: NodeRole
    reach: Reach
    agreed: str
    """What was agreed about it: `ready`, `joining`, `cordoned`, `drained`, `restarting`, `leaving`, `lost`."""
    voter: bool = False
    primary: bool = False
    addresses: tuple[str, ...] = ()
    heard: int = 0
    """Milliseconds since 1970 when agreement last heard of it; 0: never."""
    version: str = ""
    protocol: int = 0
    """What its daemon speaks; 0: it did not say yet."""
    joined: int = 0
    restarting: int = 0
    """Seconds that it is still waited for, because its daemon is started anew; 0: it is not."""
    allocations: int = 0

    @property
    def votes(self) -> str:
        return "primary" if self.primary else "voter" if self.voter else "-"

    @property
    def address(self) -> str:
        return self.addresses[0] if self.addresses else ""


class ClusterStatus(Document, frozen=True, kw_only=True):
    """The hive as this node sees it."""

    hive: str
    name: str = ""
    """Empty: this node is alone, and has not been told to found or to join a hive."""
    node: str
    node_name: str
    role: NodeRole = "member"
    engine: Engine = "local"
    ledger: Literal["alone", "voter", "learner"] = "alone"
    lineage: int = 0
    epoch: int = 0
    next_epoch: int = 0
    """Agreed, and not yet begun; 0: none."""
    view: int = 0
    primary: str = ""
    sequence: int = 0
    agreed: int = 0
    checkpoint: int = 0
    can_decide: bool = True
    why_not: str = ""
    max_voters: int = 7
    require_bft: bool = False
    rotation: float = 0.0
    """Seconds; 0: never."""
    rebalance: bool = False
    faults: int = 0
    """How many of the voters may lie at a time."""
    crashes: int = 0
    """How many of the voters may be gone at a time."""
    address: str = ""
    """Where this node's port for the hive listens."""
    protocol: int = 1
    """What all nodes speak by now."""
    own_protocol: int = 1
    """What this node's daemon could speak."""
    step: str = ""
    """Of a join that is on its way: contacting, admitted, adopting, catching-up; empty: none is."""
    members: tuple[ClusterMember, ...] = ()
    evidence: tuple[str, ...] = ()
    """Who was caught at what, in words."""
    problems: tuple[str, ...] = ()

    @property
    def lag(self) -> int:
        return max(0, self.agreed - self.sequence)


class JoinTokenDocument(Document, frozen=True, kw_only=True):
    """A permission to join, without its secret."""

    id: str
    role: NodeRole
    uses: int
    """How many more nodes may join with it."""
    expires: int
    created: int
    by: str


class NewJoinToken(Document, frozen=True, kw_only=True):
    """A permission to join, shown once."""

    id: str
    token: str
    role: NodeRole
    uses: int
    expires: int


class JoinTokenRequest(Spec, frozen=True, kw_only=True):
    role: NodeRole = "member"
    uses: Annotated[int, Meta(ge=1, le=10_000)] = 1
    expires: Seconds = 3600.0
    addresses: bool = True
    """Whether it says where nodes of the hive are; else whoever has it must find one by itself."""


class FoundRequest(Spec, frozen=True, kw_only=True):
    name: Name = "hive"
    address: str = ""
    """`host:port` or `host`; empty: an address of this machine that others are likely to reach."""
    max_voters: Annotated[int, Meta(ge=1, le=13)] = 7
    require_bft: bool = False
    engine: Engine = "pbft"


class JoinRequest(Spec, frozen=True, kw_only=True):
    token: Annotated[str, Meta(min_length=1, max_length=4096)]
    address: str = ""
    witness: bool = False
    forget_own: bool = False
    """Gives up the node's own apps and jobs, and all else that it had agreed alone."""
    seeds: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    """`host:port` of any nodes of the hive, beside those that the token and the settings name."""


class ConfigureRequest(Spec, frozen=True, kw_only=True):
    """What is left out stays."""

    max_voters: Annotated[int, Meta(ge=1, le=13)] | None = None
    require_bft: bool | None = None
    rotation: Seconds | None = None
    rebalance: bool | None = None


class LeaveRequest(Spec, frozen=True, kw_only=True):
    force: bool = False
    """Goes even if the hive cannot agree to it now; the others then see it as lost."""


class ExpelRequest(Spec, frozen=True, kw_only=True):
    node: Annotated[str, Meta(min_length=1)]
    reason: Annotated[str, Meta(max_length=500)] = ""


class RecoverRequest(Spec, frozen=True, kw_only=True):
    hive: str
    """The hive's id once more: nobody recovers the wrong one by accident."""


class JoinStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of what a join answers, as it goes on; the last one is `ready`, or has an `error`."""

    step: Literal["contacting", "admitted", "adopting", "catching-up", "ready", ""] = ""
    detail: str = ""
    error: Problem | None = None


class Recovered(Document, frozen=True, kw_only=True):
    lineage: int
    voters: tuple[str, ...]
    sequence: int
