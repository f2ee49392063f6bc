"""A hive in memory: what is agreed is real, who else there is a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from hivemind.daemon.hive.overview import overview
from hivemind.errors import Conflict
from hivemind.ledger.contract import LedgerStatus
from hivemind.model.cluster import (
    ClusterStatus,
    FoundRequest,
    JoinRequest,
    JoinStep,
    JoinTokenRequest,
    LeaveRequest,
    NewJoinToken,
    Recovered,
)
from hivemind.security.identity import Identity
from hivemind.state.operations import FoundHive, PutJoinToken

if TYPE_CHECKING:
    from tests.unit.api.backend import MemoryBackend


class MemoryCluster:
    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend
        self.ledger = LedgerStatus(engine="local", role="alone")
        self.steps: list[JoinStep] = []
        self.refusal: Exception | None = None
        """What a join ends with."""
        self.left: list[LeaveRequest] = []
        self.restored = b""
        self._tokens = 0

    def status(self) -> ClusterStatus:
        backend = self._backend
        return overview(
            state=backend.state, store=backend.store, node=backend.info().node, node_name="node-1",
            status=self.ledger, reach=lambda node: "alive", address="127.0.0.1:7946", step="", problems=(),
        )  # fmt: skip

    async def found(self, wish: FoundRequest, by: Identity) -> ClusterStatus:
        node = self._backend.info().node
        self._backend.apply(FoundHive(name=wish.name, node=node, max_voters=wish.max_voters), by)
        return self.status()

    async def new_token(self, wish: JoinTokenRequest, by: Identity) -> NewJoinToken:
        self._tokens += 1
        key = Identity(self._tokens.to_bytes(32, "big"))
        expires = self._backend.state.time + round(wish.expires * 1000)
        self._backend.apply(PutJoinToken(id=key.public, role=wish.role, uses=wish.uses, expires=expires), by)
        return NewJoinToken(
            id=key.public, token=f"hvjoin_{self._tokens}", role=wish.role, uses=wish.uses, expires=expires
        )

    async def join(self, wish: JoinRequest, heard: Callable[[JoinStep], None]) -> None:
        for step in self.steps:
            heard(step)
        if self.refusal:
            raise self.refusal

    async def leave(self, wish: LeaveRequest) -> None:
        if self._backend.state.hive_record is None:
            raise Conflict("this node is alone", hint="there is nothing to leave")
        self.left.append(wish)

    async def snapshot(self) -> AsyncIterator[bytes]:
        yield b"all that "
        yield b"was agreed"

    async def restore(self, chunks: AsyncIterator[bytes]) -> ClusterStatus:
        self.restored = b"".join([chunk async for chunk in chunks])
        return self.status()

    async def recover(self) -> Recovered:
        return Recovered(
            lineage=1, voters=(self._backend.info().node,), sequence=self._backend.state.sequence
        )
