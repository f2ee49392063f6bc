"""The ledger of a daemon: one object, whose engine changes while it is used.

A node that is alone decides alone (`local`). Once others belong to the hive, its voters decide by PBFT and the rest
follow (`agreed`), or an etcd that is there already decides the order (`etcd`). Which of these it is, follows from
what state agreed; the change happens between two batches, and nothing above notices: what was submitted to an engine
that stops is submitted to the next one, and is done once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hivemind.ledger.contract import Batch, LedgerStatus, Receipt
from hivemind.ledger.journal import Settings
from hivemind.ledger.links import Links
from hivemind.ledger.trust import Handover
from hivemind.protocols.machine import Signer
from hivemind.security.envelope import Envelope


class HiveLedger:
    """Open one with `await HiveLedger.open(...)`."""

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        hive: str,
        signer: Signer,
        clock: Callable[[], int],
        settings: Settings | None = None,
    ) -> HiveLedger:
        """`hive`: the id under which a new ledger begins; one that is there keeps its own, see `state.hive`.
        `signer`: this node's key. `clock` gives milliseconds since 1970. Raises what `Journal.open` does."""
        raise NotImplementedError

    def connect(self, links: Links) -> None:
        """From now on it talks to the other nodes; before, it decides only if it is alone."""
        raise NotImplementedError

    async def submit(self, envelope: Envelope) -> Receipt:
        """Besides what state refuses with: `Unavailable` when no decision came in time, with a hint that says who is
        missing. The operation may still be decided then; the same nonce again asks what became of it."""
        raise NotImplementedError

    def subscribe(self, callback: Callable[[Batch], None]) -> Callable[[], None]:
        raise NotImplementedError

    def status(self) -> LedgerStatus:
        raise NotImplementedError

    async def handover(self) -> Handover:
        """For a node that was just admitted: what it needs to follow this hive. Raises `Unavailable` when there is no
        certified checkpoint, and none can be had."""
        raise NotImplementedError

    async def become(self, handover: Handover) -> None:
        """Leaves this node's own hive for the one handed over, in place: `state` takes it over and every subscriber
        hears of one large batch. The old ledger stays beside it as `ledger.before-join.db` until `settle` or
        `go_back`; whenever the node dies, it is in one hive or the other. Raises `Corrupt` when the handover does not
        add up, and nothing has changed then."""
        raise NotImplementedError

    async def settle(self) -> None:
        """The new hive is entered for good: the old ledger is deleted."""
        raise NotImplementedError

    async def go_back(self) -> None:
        """Entering failed: the old ledger is taken up again. Raises `NotFound` when there is none."""
        raise NotImplementedError

    async def leave(self, hive: str) -> None:
        """Begins an empty hive of that id, of this node alone. What was left is kept as `ledger.before-join.db`."""
        raise NotImplementedError

    async def caught_up(self) -> None:
        """Returns when everything is applied here that was agreed, as far as the others told."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
