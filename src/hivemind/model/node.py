"""The node: one machine running the daemon."""

from __future__ import annotations

from typing import Final, Literal

from hivemind.model.base import Document, Record, Spec
from hivemind.model.hive import NodeRole
from hivemind.model.names import Name
from hivemind.model.resource import Column, Resource

ZONE: Final = "zone"
"""The label that says which of a node's like fail together: a rack, a hall, a region."""


class Node(Record, frozen=True, kw_only=True):
    """What the hive agreed about a node. Its id is its Ed25519 public key in hex."""

    id: str
    name: str
    cpus: float = 0.0
    """Cores it offers to allocations."""
    memory: int = 0
    """Bytes it offers to allocations."""
    gpus: int = 0
    """Devices that compute, each for one allocation at a time."""
    os: str = "linux"
    arch: str = "amd64"
    runtimes: tuple[str, ...] = ()
    task_slots: int = 16
    """How many attempts of tasks it runs at a time."""
    executors: tuple[str, ...] = ("hive",)
    """By which tasks can be run from there."""
    labels: dict[str, str] = {}
    schedulable: bool = True
    """False once cordoned or drained."""
    drained: bool = False
    deadline: int = 0
    """Milliseconds: when what is still there although it is drained is stopped hard; 0: never."""
    version: int = 1
    joined: int = 0
    updated: int = 0
    role: NodeRole = "member"
    addresses: tuple[str, ...] = ()
    """`host:port` at which other nodes reach its daemon, the best first."""
    subnet: str = ""
    """From which its allocations get their addresses; empty on networks that are not routed."""
    incarnation: int = 0
    """Of its present life in the hive; an accusation of an earlier one is void."""
    protocol: int = 1
    """The highest version of what nodes say to each other that it understands."""
    position: tuple[int, ...] = ()
    height: int = 0
    """Where it stands in the network, in microseconds: see `protocols.vivaldi`."""
    expected: bool = False
    """Let in, and has not said yet what it offers."""
    token: str = ""
    """With which it joined."""
    administrator: str = ""
    """Key of the person that came with it, and goes with it; empty: nobody did."""
    lost: int = 0
    """Milliseconds: since when the hive goes on without it; 0: it is there."""
    losses: int = 0
    """How often it was lost lately."""
    returned: int = 0
    """Milliseconds: when it came back after it was lost."""
    held_until: int = 0
    """Milliseconds: it was lost too often to be given anything new before that, but for what fits nowhere else."""
    restarting: int = 0
    """Milliseconds: until when nobody accuses it, because it said that its daemon is started anew; 0: it did not."""
    excused: int = 0
    """Milliseconds: when it will owe nothing more for times in which it was waited for, see `state.restarting`."""
    leaving: int = 0
    """Milliseconds: since when it is on its way out; 0: it stays."""
    ready: int = 0
    """Milliseconds: since when it can be a voter; 0: it cannot."""
    served: int = 0
    """Milliseconds: when it last began or ceased to be a voter; 0: it never was one."""
    adopted: bool = False
    """What it had agreed with itself before it joined is the hive's now."""

    @property
    def usable(self) -> bool:
        """It is given something new, if there is room."""
        wanted = self.schedulable and not self.drained and self.role != "witness"
        return wanted and not (self.away or self.held_until or self.restarting)

    @property
    def away(self) -> bool:
        """Nothing of it counts, for the time being or for ever."""
        return bool(self.lost) or self.expected


class NodeManifest(Spec, frozen=True, kw_only=True):
    """What a person may change about a node."""

    name: Name
    labels: dict[str, str] = {}
    schedulable: bool = True


class NodeStatus(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A node's observation of itself, kept in the shared store under `node/<id>`."""

    addresses: tuple[str, ...] = ()
    memory_used: int = 0
    load: float = 0.0
    disk_free: int = 0
    version: str = ""
    started: int = 0
    observed: int = 0
    runtime: str = ""
    network: str = ""
    problems: tuple[str, ...] = ()


class NodeDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Node"] = "Node"
    name: str
    id: str
    labels: dict[str, str]
    schedulable: bool
    drained: bool
    version: int
    cpus: float
    memory: int
    cpus_reserved: float
    memory_reserved: int
    gpus: int = 0
    gpus_reserved: int = 0
    allocations: int
    os: str
    arch: str
    runtimes: tuple[str, ...]
    joined: int
    role: NodeRole = "member"
    votes: bool = False
    """It is one of those that decide now."""
    zone: str = ""
    """Its label `zone`."""
    addresses: tuple[str, ...] = ()
    subnet: str = ""
    protocol: int = 1
    incarnation: int = 0
    expected: bool = False
    lost: int = 0
    losses: int = 0
    held_until: int = 0
    restarting: int = 0
    """Seconds that it is still waited for, because its daemon is started anew; 0: it is not."""
    leaving: int = 0
    deadline: int = 0
    status: NodeStatus

    @property
    def shown(self) -> str:
        """The one word for tables: what matters most."""
        if self.expected or self.lost or self.leaving:
            return "expected" if self.expected else "lost" if self.lost else "leaving"
        if self.restarting:
            return f"restarting ({self.restarting}s)"
        if self.drained:
            return "draining" if self.allocations else "drained"
        if not self.schedulable:
            return "cordoned"
        return "held back" if self.held_until else "ready"


NODE = Resource(
    kind="Node",
    plural="nodes",
    short="no",
    scope="hive",
    document=NodeDocument,
    manifest=NodeManifest,
    columns=(
        Column("NAME", "name"),
        Column("STATUS", "shown"),
        Column("ROLE", "role"),
        Column("VOTES", "votes", wide=True),
        Column("ZONE", "zone", wide=True),
        Column("CPUS", "cpus"),
        Column("MEMORY", "memory", format="bytes"),
        Column("GPUS", "gpus", wide=True),
        Column("ALLOCS", "allocations"),
        Column("RUNTIMES", "runtimes", format="list"),
        Column("VERSION", "status.version", wide=True),
        Column("ID", "id", format="short"),
        Column("AGE", "joined", format="age"),
    ),
)
