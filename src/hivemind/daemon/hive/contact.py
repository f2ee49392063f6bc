"""Whether this node still hears of those that decide: what the agent asks before it begins anything new."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from hivemind.ledger.contract import LedgerStatus
from hivemind.protocols.pbft.quorum import quorum


class Ledger(Protocol):
    async def caught_up(self) -> None: ...

    def status(self) -> LedgerStatus: ...


class Contact:
    """Keeps `agent.fence.Hearing`. `clock`: milliseconds since 1970, as the ledger's. `steady`: seconds since whenever,
    which nobody sets."""

    def __init__(
        self,
        ledger: Ledger,
        node: str,
        clock: Callable[[], int],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._node, self._clock, self._steady = ledger, node, clock, steady
        self._decided = steady()
        self._known: dict[str, float] = {}
        """Since when each of the voters is one, or this node's daemon is there."""
        self._meet(ledger.status().voters)

    async def caught_up(self) -> None:
        await self._ledger.caught_up()

    def behind(self) -> bool:
        status = self._ledger.status()
        return status.agreed > status.sequence

    def silence(self) -> float:
        """Seconds. A voter that was never heard of since it is one, or since this node's daemon began, was heard of
        then: who has just become one of several was not cut off from the others before."""
        status, now = self._ledger.status(), self._steady()
        if status.engine != "pbft" or not status.voters:
            self._known = {}
            if status.can_decide:
                self._decided = now
            return now - self._decided
        self._meet(status.voters)
        needed = quorum(len(status.voters)) - (self._node in status.voters)
        if needed <= 0:
            return 0.0
        silent = sorted(self._silence_of(id, status) for id in status.voters if id != self._node)
        return silent[needed - 1]

    def _meet(self, voters: tuple[str, ...]) -> None:
        self._known = {voter: self._known.get(voter, self._steady()) for voter in voters}

    def _silence_of(self, voter: str, status: LedgerStatus) -> float:
        known = self._steady() - self._known[voter]
        if voter not in status.heard:
            return known
        return min(known, max(0, self._clock() - status.heard[voter]) / 1000)
