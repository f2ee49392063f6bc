"""Whom to ping next, and what became of the pings that are under way."""

from __future__ import annotations

from hivemind.protocols.machine import Dice, Micros
from hivemind.protocols.swim.awareness import Awareness
from hivemind.protocols.swim.roster import Roster
from hivemind.protocols.swim.settings import Settings

_LARGEST = 2**62


class Probe:
    """One member under examination. Helpers are asked at `ask`, it is accused at `end`."""

    __slots__ = ("ask", "asked", "doubts", "end", "incarnation", "sent", "sequence", "target")

    def __init__(self, sequence: int, target: str, incarnation: int, sent: Micros, patience: Micros) -> None:
        self.sequence = sequence
        self.target = target
        self.incarnation = incarnation
        self.sent = sent
        self.ask: Micros | None = sent + patience
        self.end = sent + 2 * patience
        self.asked: tuple[str, ...] = ()
        """The helpers."""
        self.doubts: set[str] = set()
        """Those of them that said that they got no answer, either."""

    @property
    def due(self) -> Micros:
        return self.end if self.ask is None else self.ask


class Errand:
    """A ping for somebody else. At `nack` that one is told that there is no answer, yet."""

    __slots__ = ("asked", "asker", "end", "nack", "target")

    def __init__(self, asker: str, asked: int, target: str, now: Micros, patience: Micros) -> None:
        self.asker = asker
        self.asked = asked
        self.target = target
        self.nack: Micros | None = now + patience * 4 // 5
        self.end = now + patience

    @property
    def due(self) -> Micros:
        return self.end if self.nack is None else self.nack


class Prober:
    """Goes round a list that is shuffled anew after each round, which bounds how long nobody looks at a member
    (SWIM, section 4.3); checks of accused ones take the place of turns, so they cost nothing more."""

    MOST_ERRANDS = 256

    def __init__(self, roster: Roster, awareness: Awareness, dice: Dice, settings: Settings) -> None:
        self.probes: dict[int, Probe] = {}
        self.errands: dict[int, Errand] = {}
        self.next: Micros = 0
        self._roster = roster
        self._awareness = awareness
        self._dice = dice
        self._settings = settings
        self._round: list[str] = []
        """Who is still to come in this round, the next one last."""
        self._checks: dict[str, None] = {}
        self._probed: dict[str, int] = {}
        """The sequences under way, by their targets."""

    def joined(self, node: str) -> None:
        """A newcomer's turn comes at random within this round, not after all others."""
        self._round.insert(self._dice.randrange(len(self._round) + 1), node)

    def check(self, node: str) -> None:
        """It is next."""
        self._checks[node] = None

    def consider(self, node: str) -> None:
        """Somebody accused it: about `checkers` of all nodes see for themselves."""
        if self._dice.random() * max(1, self._roster.living) < self._settings.checkers:
            self.check(node)

    def turn(self, now: Micros) -> Probe | None:
        """The next probe, begun; None when there is nobody to look at."""
        self.next = now + self._awareness.scaled(self._settings.interval)
        if (target := self._target()) is None:
            return None
        patience = self._awareness.scaled(self._settings.timeout)
        member = self._roster.members[target]
        probe = Probe(self.sequence(), target, member.incarnation, now, patience)
        self.probes[probe.sequence] = probe
        self._probed[target] = probe.sequence
        return probe

    def _target(self) -> str | None:
        while self._checks:
            node = next(iter(self._checks))
            del self._checks[node]
            if self._suits(node) and not self._roster.members[node].seen:
                return node
        for _ in range(2):
            while self._round:
                node = self._round.pop()
                if self._suits(node):
                    return node
            self._round = [member.node for member in self._roster if member.living]
            self._dice.shuffle(self._round)
        return None

    def _suits(self, node: str) -> bool:
        member = self._roster.members.get(node)
        return member is not None and member.living and node not in self._probed

    def sequence(self) -> int:
        """At random, so that nobody can have answers to later ones signed beforehand."""
        return self._dice.randrange(_LARGEST)

    def close(self, probe: Probe) -> None:
        del self.probes[probe.sequence]
        del self._probed[probe.target]

    def run_errand(self, asker: str, asked: int, target: str, now: Micros) -> int | None:
        """The sequence of the ping to make for `asker`; None when there are too many."""
        if len(self.errands) >= self.MOST_ERRANDS:
            return None
        sequence = self.sequence()
        self.errands[sequence] = Errand(asker, asked, target, now, self._settings.timeout)
        return sequence

    def deadline(self) -> Micros:
        due = self.next
        for probe in self.probes.values():
            due = min(due, probe.due)
        for errand in self.errands.values():
            due = min(due, errand.due)
        return due

    def delay(self, late: Micros) -> None:
        """The node itself stood still so long; answers may wait to be read."""
        for probe in self.probes.values():
            probe.end += late
            if probe.ask is not None:
                probe.ask += late
        for errand in self.errands.values():
            errand.end += late
            if errand.nack is not None:
                errand.nack += late
