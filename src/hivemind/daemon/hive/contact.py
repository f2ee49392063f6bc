"""Whether this node still hears of those that decide: what the agent asks before it begins anything new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hivemind.ledger.contract import LedgerStatus
from hivemind.protocols.pbft.quorum import quorum


class Ledger(Protocol):
    async def caught_up(self) -> None: ...

    def status(self) -> LedgerStatus: ...


class Contact:
    """Keeps `agent.fence.Hearing`. `clock`: milliseconds since 1970."""

    def __init__(self, ledger: Ledger, node: str, clock: Callable[[], int]) -> None:
        self._ledger, self._node, self._clock = ledger, node, clock
        self._began = self._decided = clock()

    async def caught_up(self) -> None:
        await self._ledger.caught_up()

    def behind(self) -> bool:
        status = self._ledger.status()
        return status.agreed > status.sequence

    def silence(self) -> float:
        """Seconds. A voter that was never heard of since this node's daemon began, was heard of then."""
        status, now = self._ledger.status(), self._clock()
        if status.engine != "pbft" or not status.voters:
            if status.can_decide:
                self._decided = now
            return max(0, now - self._decided) / 1000
        others = [voter for voter in status.voters if voter != self._node]
        needed = quorum(len(status.voters)) - (self._node in status.voters)
        if needed <= 0:
            return 0.0
        heard = sorted((max(status.heard.get(voter, 0), self._began) for voter in others), reverse=True)
        return max(0, now - heard[needed - 1]) / 1000
