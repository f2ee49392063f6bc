"""Dynamic suspicion (Lifeguard, section IV-B): the more accuse independently, the sooner it is over."""

from __future__ import annotations

import math

from hivemind.protocols.machine import Micros
from hivemind.protocols.swim.statements import Dead, Suspect
from hivemind.security.statement import Statement


class Suspicion:
    """Of one member in one incarnation."""

    def __init__(self, began: Micros, shortest: Micros, longest: Micros, confirmations: int) -> None:
        self.statements: dict[str, Statement] = {}
        """By their accusers, the first one first."""
        self.wanted = 1
        """So many accusers are needed for a verdict."""
        self._dead: set[str] = set()
        self._began = began
        self._shortest = shortest
        self._longest = longest
        self._confirmations = confirmations
        self._enough_since: Micros | None = None

    @property
    def accusers(self) -> tuple[str, ...]:
        return tuple(self.statements)

    def accuse(self, statement: Statement, body: Suspect | Dead) -> None:
        self.statements[statement.signer] = statement
        if isinstance(body, Dead):
            self._dead.add(statement.signer)

    def want(self, accusers: int, now: Micros) -> None:
        """More may be wanted when the hive turns out to be larger, never fewer."""
        self.wanted = max(self.wanted, accusers)
        if len(self.statements) < self.wanted:
            self._enough_since = None
        elif self._enough_since is None:
            self._enough_since = now

    def holds_dead(self, accuser: str) -> bool:
        return accuser in self._dead

    def deadline(self) -> Micros | None:
        """When the accused is failed; None while too few accuse it. Half of the shortest time it has in any case:
        who was long accused by too few may not have known how serious it was, and a verdict of others may be from
        the far side of a partition that is just mended."""
        if self._enough_since is None:
            return None
        if len(self._dead) >= self.wanted:
            return self._enough_since + self._shortest // 2
        further = min(len(self.statements) - 1, self._confirmations)
        share = math.log(further + 1) / math.log(self._confirmations + 1) if self._confirmations else 1.0
        lasts = self._longest - round((self._longest - self._shortest) * share)
        return max(self._began + lasts, self._enough_since + self._shortest // 2)

    def delay(self, late: Micros) -> None:
        """The node itself stood still so long: nobody could have refuted meanwhile."""
        self._began += late
        if self._enough_since is not None:
            self._enough_since += late
