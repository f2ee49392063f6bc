"""The hive: what was agreed about itself. Who decides, since when, and who may join."""

from __future__ import annotations

from typing import Final, Literal

from hivemind.model.base import Record

PROTOCOL: Final = 1
"""The version of what nodes say to each other that this program speaks."""

Engine = Literal["local", "pbft", "etcd"]
NodeRole = Literal["member", "worker", "witness"]
"""A member decides (while voters are wanted) and runs work, and root on it administers the hive; a worker only runs
work; a witness only decides."""


class Epoch(Record, frozen=True, kw_only=True):
    """A set of voters. Epochs follow each other without a gap; a sequence belongs to the last one that began at or
    before it."""

    number: int
    since: int
    """The first sequence that it decides."""
    voters: tuple[str, ...]
    """Ids of nodes, sorted."""


class Term(Record, frozen=True, kw_only=True):
    """An epoch as it is remembered, in the table `terms` by its number as eight digits: the newest hundred."""

    epoch: Epoch
    time: int
    """Milliseconds: when it began."""
    reason: str = ""
    """Who came or went, and why."""


class Hive(Record, frozen=True, kw_only=True):
    """The one record of the table `hives`, by the hive's id. There is none before a hive has more than its
    founder: then that one decides alone."""

    id: str
    name: str
    lineage: int = 0
    """Raised by each recovery by force: what an older lineage says does not count."""
    engine: Engine = "pbft"
    """What agrees once there is more than one voter; one alone needs none."""
    max_voters: int = 7
    require_bft: bool = False
    """Refuses whatever would leave fewer than four voters."""
    rotation: int = 0
    """Milliseconds after which the longest-serving voter makes room for another member; 0: never."""
    rebalance: bool = False
    """Whether replicas move to nodes that joined."""
    balance: int = 0
    """Milliseconds: when it is looked again for one that should; 0: nothing has changed since."""
    epoch: Epoch
    """The one that decides now."""
    since: int = 0
    """Milliseconds: when it began."""
    next: Epoch | None = None
    """Agreed, and not yet begun; as long as there is one no other change of voters is taken on."""
    change: str = ""
    """Who comes or goes with the next one, and why."""
    protocol: int = 1
    """The version that all nodes understand. It never falls: nodes that understand only less are refused."""
    version: int = 1
    """Counts what people changed."""
    created: int = 0

    @property
    def domain(self) -> str:
        return domain(self.id, self.lineage)


class JoinToken(Record, frozen=True, kw_only=True):
    """A permission to join, in the table `join_tokens`. `id`: the public key of the token, which is the private
    one: who holds it proves it by signing the new node's key."""

    id: str
    role: NodeRole = "member"
    uses: int = 1
    """How many more nodes may join with it."""
    used: int = 0
    """How many did."""
    expires: int
    """Milliseconds since 1970."""
    created: int = 0
    by: str = ""


class Accusation(Record, frozen=True, kw_only=True):
    """A node's word that it does not reach another one any more, in the table `accusations` by
    `<accused>/<accuser>`."""

    accused: str
    accuser: str
    incarnation: int
    """Which start of the accused it is about: an accusation of an earlier one is void."""
    time: int

    @property
    def key(self) -> str:
        return f"{self.accused}/{self.accuser}"


class Expulsion(Record, frozen=True, kw_only=True):
    """A node that was caught lying, or was told to go, in the table `expulsions` by its id: it never comes back with
    that key."""

    id: str
    name: str
    reason: str
    proof: bytes = b""
    """Two of its own statements that contradict each other, see `protocols.pbft` and `protocols.autobee`; empty when
    a person decided."""
    time: int
    by: str = ""


def domain(hive: str, lineage: int) -> str:
    """In which its voters' statements count: what an older lineage said does not."""
    return f"{hive}/{lineage}" if lineage else hive
