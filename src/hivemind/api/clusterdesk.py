"""What the API asks of the node about the hive that it belongs to, and about belonging to one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

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


class ClusterDesk(Protocol):
    def status(self) -> ClusterStatus: ...

    async def found(self, wish: FoundRequest, by: Identity) -> ClusterStatus:
        """Makes this node the first of a hive that others may join. Raises `Conflict` when it is one already."""

    async def new_token(self, wish: JoinTokenRequest, by: Identity) -> NewJoinToken:
        """Raises `Conflict` when there is no hive to join yet."""

    async def join(self, wish: JoinRequest, heard: Callable[[JoinStep], None]) -> None:
        """Returns when this node is of the hive and has caught up. The same token once more goes on with a join that
        was interrupted. Raises what the hive, or this node, refuses it with."""

    async def leave(self, wish: LeaveRequest) -> None:
        """Returns when this node is alone again."""

    def snapshot(self) -> AsyncIterator[bytes]:
        """What was agreed, certified, as one file."""

    async def restore(self, chunks: AsyncIterator[bytes]) -> ClusterStatus:
        """Begins a new lineage of the hive with what a file holds, on a node that is alone."""

    async def recover(self) -> Recovered:
        """Begins a new lineage in which this node alone decides. Raises `Conflict` when the hive can decide."""
