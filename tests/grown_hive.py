"""A hive of several: founded, joined with tokens and real keys, its epochs begun, its nodes lost and found."""

from __future__ import annotations

import hashlib
from typing import Any

from hive import ADMIN, Hive
from hivemind.model.allocation import AllocationState
from hivemind.model.hive import Hive as Record
from hivemind.model.hive import NodeRole
from hivemind.model.node import Node
from hivemind.security.identity import Identity
from hivemind.security.joining import joining
from hivemind.state.operations import (
    AccuseNode,
    DeleteJoinToken,
    FoundHive,
    JoinHive,
    PutJoinToken,
    ReadyToVote,
    RegisterNode,
)
from hivemind.state.state import Outcome

HOUR = 3_600_000


def key(name: str) -> Identity:
    return Identity(hashlib.blake2b(name.encode(), digest_size=32).digest())


class GrownHive(Hive):
    """The founder is `node-0`, whose id is its name; all others have keys."""

    def __init__(
        self, *names: str, workers: tuple[str, ...] = (), vote: bool = True, **settings: Any
    ) -> None:
        super().__init__(1)
        self.ids = {"node-0": "node-0"}
        self.incarnations: dict[str, int] = {}
        self.tokens = 0
        self.do(FoundHive(name="bees", node="node-0", **settings))
        for name in names:
            self.admit(name, ready=vote)
        for name in workers:
            self.admit(name, role="worker")
        if vote:
            self.begun()

    @property
    def record(self) -> Record:
        found = self.state.hive_record
        assert found
        return found

    @property
    def voters(self) -> list[str]:
        """Names."""
        return sorted(self.name(id) for id in self.record.epoch.voters)

    def name(self, id: str) -> str:
        return next((name for name, known in self.ids.items() if known == id), id)

    def node(self, name: str) -> Node:
        return self.state.nodes[self.ids[name]]

    # -- coming ----------------------------------------------------------------------------------------------

    def token(self, *, role: NodeRole = "member", uses: int = 1, ttl: int = HOUR) -> Identity:
        self.tokens += 1
        made = key(f"token-{self.tokens}")
        self.do(PutJoinToken(id=made.public, role=role, uses=uses, expires=self.time + 10 + ttl))
        return made

    def joining(self, who: str, token: Identity, **changed: Any) -> JoinHive:
        """As the node of that name would ask."""
        node, person = key(who), key(f"admin of {who}")
        signed = joining(self.state.hive, node.public, person.public)
        asked: dict[str, Any] = {
            "node": node.public, "name": who, "role": "member", "administrator": person.public,
            "token": token.public, "proof": token.sign(signed), "consent": node.sign(signed),
        }  # fmt: skip
        return JoinHive(**{**asked, **changed})

    def admit(self, name: str, *, role: NodeRole = "member", ready: bool = True, **facts: Any) -> str:
        """Joins, registers and, if it decides, is ready for it. Returns its id."""
        token = self.token(role=role)
        self.do(self.joining(name, token, role=role), by=min(self.state.voters, key=self._trust))
        self.do(DeleteJoinToken(id=token.public))
        self.ids[name] = key(name).public
        self.register(name, **facts)
        if role != "worker" and ready:
            self.ready(name)
        return self.ids[name]

    def _trust(self, id: str) -> tuple[bool, bool, str]:
        """The sponsor is a voter that is there, the founder if possible."""
        return id not in self.state.nodes or self.state.nodes[id].away, id != "node-0", id

    def register(self, name: str, *, refused: bool = False, **facts: Any) -> Outcome:
        """With a higher incarnation than ever, if none is given."""
        id = self.ids[name]
        facts.setdefault("incarnation", self.incarnations.get(name, 0) + 1)
        facts = {"cpus": 4.0, "memory": 2**33, "runtimes": ("oci", "process"), **facts}
        outcome = self.do(RegisterNode(id=id, name=name, **facts), by=id, refused=refused)
        if not refused:
            self.incarnations[name] = facts["incarnation"]
        return outcome

    def ready(self, name: str, *, refused: bool = False) -> Outcome:
        return self.do(ReadyToVote(node=self.ids[name]), by=self.ids[name], refused=refused)

    # -- going -----------------------------------------------------------------------------------------------

    def accuse(self, name: str, by: str, *, refused: bool = False, incarnation: int | None = None) -> Outcome:
        if incarnation is None:
            incarnation = self.node(name).incarnation
        operation = AccuseNode(node=self.ids[name], incarnation=incarnation)
        return self.do(operation, by=self.ids[by], refused=refused)

    def lose(self, name: str) -> None:
        """All voters that are there say that it is not."""
        for voter in self.record.epoch.voters:
            there = voter in self.state.nodes and not self.state.nodes[voter].away
            if there and voter != self.ids[name] and not self.node(name).lost:
                self.accuse(name, self.name(voter))
        assert self.node(name).lost

    def lose_replica(self, id: str) -> None:
        """Its node says that nothing of it runs any more."""
        assert self.report(lambda a: a.id == id, AllocationState.LOST) == 1

    # -- time ------------------------------------------------------------------------------------------------

    def begun(self) -> None:
        """Empty batches, as long as state wants them at once."""
        for _ in range(1000):
            if self.record.next is None:
                return
            assert self.state.deadline() == self.state.time
            self.wait(0)
        raise AssertionError("the epoch never begins")


__all__ = ["ADMIN", "HOUR", "GrownHive", "key"]
