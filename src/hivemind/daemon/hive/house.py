"""What a node's belonging to a hive needs of the node."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from hivemind.agent.relays import Relays
from hivemind.api.remote.remote import Remote
from hivemind.ledger.hive import HiveLedger
from hivemind.security.identity import Identity
from hivemind.security.sealing import Vault
from hivemind.state.operations import Operation
from hivemind.state.state import Outcome
from hivemind.store.shared import SharedStore


class House(Protocol):
    """The node for which `Cluster` speaks."""

    name: str
    data: Path
    key: Identity
    administrator: Identity
    vault: Vault
    ledger: HiveLedger
    store: SharedStore
    remote: Remote
    relays: Relays

    def clock(self) -> int:
        """Milliseconds since 1970."""

    def held(self) -> AbstractAsyncContextManager[None]:
        """Inside, nothing that others of the node want agreed is submitted: it waits."""

    async def submit(self, operation: Operation, by: Identity, nonce: str = "") -> Outcome: ...

    async def report(self, operation: Operation) -> Outcome: ...

    async def introduce(self, incarnation: int = 0, addresses: tuple[str, ...] = ()) -> None:
        """Founds a hive of its own where there is none, and registers the node."""
