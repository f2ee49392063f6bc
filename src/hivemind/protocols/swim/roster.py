"""What one node believes of all others, and by which statements that changes: the rules of SWIM, section 4.2.

Of a member counts the highest incarnation that it signed itself. In that it is alive, then suspected, then failed,
or it left; only a higher one makes it alive again. Statements about an incarnation that is not the present one are
void, whoever signed them, so an old one can be repeated forever without effect.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from hivemind.protocols.machine import Dice, Micros
from hivemind.protocols.swim.events import Change, Failed, Joined, Left, Returned, Status, Suspected, Updated
from hivemind.protocols.swim.settings import Settings
from hivemind.protocols.swim.statements import Accusation, Alive, Allowed, Body, Dead, Leaving, Notary
from hivemind.protocols.swim.suspicion import Suspicion
from hivemind.security.statement import Statement


class Member:
    """Another node. `statement`: the `Alive` of its present incarnation."""

    __slots__ = (
        "alive",
        "incarnation",
        "leaving",
        "node",
        "seen",
        "since",
        "statement",
        "status",
        "suspicion",
    )

    def __init__(self, node: str, statement: Statement, alive: Alive, now: Micros) -> None:
        self.node = node
        self.begin(statement, alive, now)

    def begin(self, statement: Statement, alive: Alive, now: Micros) -> None:
        """A new incarnation."""
        self.statement = statement
        self.alive = alive
        self.incarnation = alive.incarnation
        self.status = Status.ALIVE
        self.since = now
        """Of its status."""
        self.suspicion: Suspicion | None = None
        self.leaving: Statement | None = None
        self.seen = False
        """Whether it gave no answer to a probe from here."""

    @property
    def living(self) -> bool:
        return self.status <= Status.SUSPECT

    def evidence(self) -> list[Statement]:
        """All that somebody must be shown to believe the same; first what counts most."""
        if self.leaving is not None:
            return [self.statement, self.leaving]
        return [self.statement, *(self.suspicion.statements.values() if self.suspicion else ())]


class Roster:
    """`accept` is the only way in. `me` is in no statement here: what is said of oneself is for `Swim`."""

    def __init__(self, me: str, notary: Notary, dice: Dice, settings: Settings, allowed: Allowed) -> None:
        self.members: dict[str, Member] = {}
        self.living = 0
        """Others that are alive or suspected."""
        self.departed = 0
        self.forged = 0
        """Statements that their signers never signed."""
        self.foreign = 0
        """Statements of those that do not belong to the hive."""
        self._me = me
        self._notary = notary
        self._dice = dice
        self._settings = settings
        self._allowed = allowed
        self._names: list[str] = []
        self._suspected: dict[str, Suspicion] = {}
        self._forgotten: dict[str, Member] = {}
        """Nobody waits for them any more; but what they said last counts when they come back."""

    @property
    def wanted(self) -> int:
        """Accusers that a verdict takes: two where the hive has more than two others."""
        return 1 if len(self.members) - self.departed <= 2 else 2

    @property
    def most_accusers(self) -> int:
        """More than these are not kept, nor passed on: a bound on what a dead node costs."""
        return self._settings.confirmations + 1

    def accept(self, statement: Statement, body: Body, now: Micros) -> list[Change] | None:
        """The changes that it makes, maybe none; None when it is void, known, or not genuine."""
        if not self._genuine(statement, body):
            return None
        if isinstance(body, Alive):
            return self._alive(statement, body, now)
        if isinstance(body, Leaving):
            return self._leaving(statement, body, now)
        return self._accused(statement, body, now) if isinstance(body, Accusation) else None

    def fresh(self, statement: Statement, body: Body) -> bool:
        """Whether it could change anything here: the cheap checks, before its signature is looked at."""
        signer = self.members.get(statement.signer)
        if isinstance(body, Alive):
            last = self.last(statement.signer)
            return last is None or body.incarnation > last.incarnation
        if isinstance(body, Leaving):
            signer = self.members.get(statement.signer)
            return signer is not None and signer.leaving is None and body.incarnation >= signer.incarnation
        return isinstance(body, Accusation) and self._fresh_accusation(statement.signer, body)

    def last(self, node: str) -> Member | None:
        """As it was last known, even if it is forgotten."""
        return self.members.get(node) or self._forgotten.get(node)

    def _fresh_accusation(self, accuser: str, body: Accusation) -> bool:
        accused = self.members.get(body.accused)
        if accused is None or accuser == body.accused:
            return False
        if not accused.living or body.incarnation != accused.incarnation:
            return False
        if (suspicion := accused.suspicion) is None:
            return True
        if accuser in suspicion.statements:
            return isinstance(body, Dead) and not suspicion.holds_dead(accuser)
        return len(suspicion.statements) < self.most_accusers

    def _genuine(self, statement: Statement, body: Body) -> bool:
        if not self.fresh(statement, body):
            return False
        if statement.signer != self._me and not self._allowed(statement.signer):
            self.foreign += 1
            return False
        sound = self._notary.genuine(statement)
        self.forged += not sound
        return sound

    def _alive(self, statement: Statement, body: Alive, now: Micros) -> list[Change]:
        node = statement.signer
        if (member := self.members.get(node)) is None:
            self.members[node] = Member(node, statement, body, now)
            self._names.append(node)
            self._forgotten.pop(node, None)
            self.living += 1
            return [Joined(node, body)]
        was, before = member.status, member.alive
        self._become(member, Status.ALIVE, now)
        member.begin(statement, body, now)
        if was != Status.ALIVE:
            return [Returned(node, body, was)]
        same = (before.addresses, before.meta) == (body.addresses, body.meta)
        return [] if same else [Updated(node, body)]

    def _leaving(self, statement: Statement, body: Leaving, now: Micros) -> list[Change]:
        member = self.members[statement.signer]
        member.leaving = statement
        member.incarnation = body.incarnation
        member.suspicion = None
        self._become(member, Status.LEFT, now)
        return [Left(member.node)]

    def _accused(self, statement: Statement, body: Accusation, now: Micros) -> list[Change]:
        member = self.members[body.accused]
        if member.suspicion is None:
            self._become(member, Status.SUSPECT, now)
            member.suspicion = self._suspected[member.node] = self._suspicion(now)
        repeated = statement.signer in member.suspicion.statements
        member.suspicion.accuse(statement, body)
        member.suspicion.want(self.wanted, now)
        changes: list[Change] = (
            [] if repeated else [Suspected(member.node, body.incarnation, statement.signer)]
        )
        return [*changes, *self._judge(member, now)]

    def _suspicion(self, now: Micros) -> Suspicion:
        settings = self._settings
        doublings = math.ceil(math.log2(max(1.0, self.living / 10)))
        shortest = settings.suspicion + doublings * settings.gossip_interval
        others = len(self.members) - self.departed
        confirmations = settings.confirmations if others > settings.confirmations else 0
        longest = shortest * settings.suspicion_max
        return Suspicion(now, shortest, longest, confirmations)

    def _judge(self, member: Member, now: Micros) -> list[Change]:
        if (suspicion := member.suspicion) is None:
            return []
        suspicion.want(self.wanted, now)
        due = suspicion.deadline()
        if due is None or due > now:
            return []
        self._become(member, Status.FAILED, now)
        return [Failed(member.node, member.incarnation, suspicion.accusers, member.seen)]

    def _become(self, member: Member, status: Status, now: Micros) -> None:
        self._suspected.pop(member.node, None)
        self.living += (status <= Status.SUSPECT) - member.living
        self.departed += (status == Status.LEFT) - (member.status == Status.LEFT)
        member.status = status
        member.since = now

    def conclude(self, node: str, statement: Statement, body: Dead) -> None:
        """The verdict, signed here."""
        if suspicion := self.members[node].suspicion:
            suspicion.accuse(statement, body)

    def judge(self, now: Micros) -> list[Change]:
        """Those whose time of suspicion is over."""
        over = [self.members[node] for node in tuple(self._suspected)]
        return [change for member in over for change in self._judge(member, now)]

    def deadline(self) -> Micros | None:
        deadlines = (suspicion.deadline() for suspicion in self._suspected.values())
        return min((due for due in deadlines if due is not None), default=None)

    def delay(self, late: Micros) -> None:
        for suspicion in self._suspected.values():
            suspicion.delay(late)

    def reclaim(self, now: Micros) -> None:
        """Forgets whom it does not expect any more; no old `Alive` of theirs brings them back."""
        for member in tuple(self.members.values()):
            if not member.living and now - member.since >= self._settings.reclaim:
                self._forgotten[member.node] = member
                self._remove(member)

    def review(self) -> list[Change]:
        """Who does not belong to the hive any more is gone."""
        gone = [member for member in self.members.values() if not self._allowed(member.node)]
        for member in gone:
            self._remove(member)
        for node in [node for node in self._forgotten if not self._allowed(node)]:
            del self._forgotten[node]
        return [Left(member.node) for member in gone if member.status != Status.LEFT]

    def _remove(self, member: Member) -> None:
        self._suspected.pop(member.node, None)
        self.living -= member.living
        self.departed -= member.status == Status.LEFT
        del self.members[member.node]
        self._names.remove(member.node)

    def sample(self, wanted: int, but: str, failed_since: Micros | None = None) -> list[str]:
        """Up to `wanted` others at random that live, or that failed after `failed_since`. A few throws find them
        where most live, whatever their number; else all are looked at."""

        def suits(node: str) -> bool:
            member = self.members[node]
            lately = failed_since is not None and member.since >= failed_since
            return node != but and (member.living or (member.status == Status.FAILED and lately))

        found: dict[str, None] = {}
        for _ in range(4 * wanted if len(self._names) > 4 * wanted else 0):
            node = self._names[self._dice.randrange(len(self._names))]
            if suits(node):
                found[node] = None
            if len(found) == wanted:
                return list(found)
        rest = [node for node in self._names if suits(node)]
        return self._dice.sample(rest, min(wanted, len(rest)))

    def failed(self) -> list[str]:
        return [node for node in self._names if self.members[node].status == Status.FAILED]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members.values())

    def check(self) -> None:
        """As `Machine.check`."""
        assert self._me not in self.members
        assert sorted(self._names) == sorted(self.members)
        assert self.living == sum(member.living for member in self)
        assert self.departed == sum(member.status == Status.LEFT for member in self)
        for member in self:
            suspicion = member.suspicion
            assert (member.node in self._suspected) == (member.status == Status.SUSPECT)
            assert member.node not in self._forgotten
            if member.status in (Status.SUSPECT, Status.FAILED):
                assert suspicion is not None and 1 <= len(suspicion.accusers) <= self.most_accusers
                assert member.node not in suspicion.accusers
            if member.status == Status.FAILED:
                assert suspicion is not None and len(suspicion.accusers) >= suspicion.wanted
            if member.status == Status.ALIVE:
                assert suspicion is None
            assert (member.leaving is not None) == (member.status == Status.LEFT)
