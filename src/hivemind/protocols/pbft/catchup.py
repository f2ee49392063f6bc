"""Catching up: who lacks something says what it has, and whoever has more sends that.

STATUS is sent now and then, oftener by who lacks something. Votes are sent again, decisions travel with their
certificates, boundaries of epochs as a chain; all of it proves itself, so it does not matter who sends it. Who is
too far behind, or finds that nobody keeps what it lacks, names a certified checkpoint and has its host fetch that
state; until it is in place it does not vote.
"""

from __future__ import annotations

from hivemind.protocols.machine import Micros
from hivemind.protocols.pbft import limits
from hivemind.protocols.pbft.certificate import commit_holds
from hivemind.protocols.pbft.checkpoints import Checkpoints
from hivemind.protocols.pbft.core import Core
from hivemind.protocols.pbft.events import FetchState
from hivemind.protocols.pbft.ordering import Ordering
from hivemind.protocols.pbft.viewchange import ViewChanges
from hivemind.protocols.pbft.wire import (
    Bodies,
    Chain,
    CheckpointCertificate,
    Decided,
    Decisions,
    FetchBodies,
    FetchDecided,
    Stable,
    Status,
    digest,
)

_BUDGET = 16 * 2**20
"""Bytes that one other node is sent on request within a status interval."""
_FULL = limits.PROPOSAL_SIZE
"""An answer ends with the decision that passes this many bytes, so it fits into a message."""
_AHEAD = limits.LOG
"""Decisions given to a host that has not answered: what comes beyond is fetched later."""


class CatchUp:
    def __init__(self, core: Core, ordering: Ordering, checkpoints: Checkpoints, views: ViewChanges) -> None:
        self._core, self._ordering = core, ordering
        self._checkpoints, self._views = checkpoints, views
        self._claims: dict[str, Status] = {}
        """The last STATUS of each informant: hints."""
        self._next_status: Micros = 0
        self._served: dict[str, tuple[Micros, int]] = {}
        self._missing: tuple[int, Micros] = (0, 0)
        """The first decision that is known to be somewhere and is not here, and since when."""
        self._asked: tuple[str, Micros] | None = None
        """Who was asked for decisions, and until when it may answer."""
        self._without: dict[str, int] = {}
        """Voter -> a decision that it does not keep any more."""
        self._bodies_at: Micros | None = None
        self._target = -1
        """The checkpoint whose state is being fetched."""
        self._retry: Micros = 0
        self.followers: dict[str, Micros] = {}
        """Who is told each decision, and until when."""
        self._source = ""

    # Telling what it has.

    def tick(self) -> None:
        core = self._core
        if core.now >= self._next_status:
            interval = core.settings.status_interval if self._lacks() else core.settings.idle_interval
            self._next_status = core.now + interval
            self._tell()
        self.followers = {node: until for node, until in self.followers.items() if until > core.now}

    def deadline(self) -> Micros:
        wanted = [self._next_status]
        if self._bodies_at is not None:
            wanted.append(self._bodies_at)
        if self._behind():
            wanted.append(self._asked[1] if self._asked else self._missing[1] + self._patience())
        if not self._core.syncing and self._retry > self._core.now:
            wanted.append(self._retry)
        return min(wanted)

    def soon(self) -> None:
        """Something is lacking that was not before: the next STATUS need not wait for the idle interval."""
        self._next_status = min(self._next_status, self._core.now + self._core.settings.status_interval)

    def _tell(self) -> None:
        core = self._core
        status = self._status()
        if core.is_voter:
            return core.broadcast(status, core.informants)
        if self._source not in core.voters:
            self._source = core.voters[core.dice.randrange(len(core.voters))]
        for node in core.informants:
            core.send(node, self._status(follows=node == self._source))
        return None

    def _status(self, *, follows: bool = False, answer: bool = False) -> Status:
        core = self._core
        lacking = tuple(
            sequence
            for sequence in range(
                self._ordering.handed + 1, min(core.high, core.executed + limits.MARGIN) + 1
            )
            if (slot := self._ordering.slots.get(sequence)) is None or slot.offer is None
        )
        return Status(
            core.epoch.number,
            core.view,
            core.active,
            core.low,
            core.executed,
            () if answer or not core.is_voter else lacking,
            follows,
            answer,
            not answer and self._is_new(),
        )

    def _is_new(self) -> bool:
        """It has not heard from so many others that one of them is honest."""
        others = [voter for voter in self._core.informants if voter != self._core.me]
        return sum(voter in self._claims for voter in others) < min(self._core.weak, len(others))

    def _lacks(self) -> bool:
        core = self._core
        return (
            self._behind()
            or self._is_new()
            or (core.is_voter and not core.active)
            or core.syncing
            or core.diverged
            or bool(self._checkpoints.votes)
            or max(self._ordering.slots, default=0) > core.executed
        )

    # Hearing what others have.

    def claimed(self) -> tuple[tuple[str, int], ...]:
        """What each voter last said that it has executed."""
        claims = self._claims
        return tuple((voter, claims[voter].executed) for voter in self._core.voters if voter in claims)

    def on_status(self, sender: str, status: Status) -> None:
        core = self._core
        if len(status.lacking) > limits.LISTED:
            return core.drop("a status too long")
        if not self._spend(sender, 4096):
            return core.drop("asks too much")
        if sender in core.informants:
            self._claims[sender] = status
        if status.follows and (sender in self.followers or len(self.followers) < limits.FOLLOWERS):
            self.followers[sender] = core.now + 3 * core.settings.idle_interval
        if not status.answer:
            self._answer(sender, status)
        return None

    def _answer(self, sender: str, status: Status) -> None:
        core = self._core
        if status.epoch < core.epoch.number:
            chain = core.epochs.after(status.epoch)
            if chain:
                core.send(sender, Chain(chain))
        if status.epoch == core.epoch.number:
            if core.stable is not None and status.stable < core.low:
                core.send(sender, Stable(core.stable))
            if core.is_voter and sender in core.voters:
                self._send_again(sender, status)
        if (
            sender not in core.voters
            or status.asks
            or core.epoch.number > status.epoch
            or core.executed > status.executed
            or core.low > status.stable
        ):
            # Who does not vote has to hear from several, too, that it is level: it is told nothing otherwise.
            core.send(sender, self._status(answer=True))

    def _send_again(self, sender: str, status: Status) -> None:
        """My own words that may have been lost on the way."""
        core = self._core
        for statement in self._checkpoints.own(status.stable):
            core.send(sender, core.said(statement))
        if status.view < core.view or (status.view == core.view and not status.active):
            change = self._views.changes.get(core.me)
            if core.active and self._views.proof is not None:
                core.send(sender, core.said(self._views.proof))
            elif not core.active and change is not None:
                core.send(sender, core.said(change[0]))
        if (status.view, status.active, core.active) != (core.view, True, True):
            return
        for sequence in sorted(self._ordering.slots):
            if sequence <= max(status.executed, core.executed):
                continue
            slot = self._ordering.slots[sequence]
            if slot.offer is not None and sequence in status.lacking:
                # Whoever has the statement may pass it on; the body comes from one, or is asked for.
                mine = slot.offer.signer == core.me
                body = self._ordering.body(slot.digest, sequence) if mine else None
                if not slot.given:
                    core.send(sender, core.said(slot.offer, body or b""))
            for ballots in (slot.prepares, slot.commits):
                if core.me in ballots.cast:
                    core.send(sender, core.said(ballots.cast[core.me].statement))

    # Proposals.

    def on_fetch_bodies(self, sender: str, message: FetchBodies) -> None:
        if len(message.digests) > limits.LISTED:
            return self._core.drop("a question too long")
        found: list[bytes] = []
        size = 0
        for wanted in message.digests:
            body = self._ordering.find_body(wanted)
            if body is not None and (not found or size + len(body) <= _FULL):
                found.append(body)
                size += len(body)
        if found:
            if not self._spend(sender, size):
                return self._core.drop("asks too much")
            self._core.send(sender, Bodies(tuple(found)))
        return None

    def on_bodies(self, message: Bodies) -> None:
        if len(message.proposals) > limits.LISTED:
            return self._core.drop("an answer too long")
        for data in message.proposals:
            self._ordering.on_body(data)
        return None

    def _fetch_bodies(self) -> None:
        """FETCH-BODY from f+1 others at random, again and again: some honest one has voted for it."""
        core = self._core
        lacking = self._ordering.lacking_bodies()[: limits.LISTED]
        if not lacking:
            self._bodies_at = None
        elif self._bodies_at is None:
            self._bodies_at = core.now + self._patience()
        elif core.now >= self._bodies_at:
            self._bodies_at = core.now + core.settings.status_interval
            others = [voter for voter in core.voters if voter != core.me]
            asked = core.dice.sample(others, min(core.weak, len(others)))
            core.broadcast(FetchBodies(tuple(lacking)), asked)

    # Decisions.

    def on_fetch_decided(self, sender: str, message: FetchDecided) -> None:
        core, found, size, sequence = self._core, list[Decided](), 0, message.first
        while 0 < sequence <= core.executed and len(found) < limits.LOG:
            decided = core.host.decided(sequence)
            if decided is None or (found and size + len(decided.proposal) > _FULL):
                break
            found.append(decided)
            size += len(decided.proposal) + 2048
            if size > _FULL:
                break
            sequence += 1
        if not self._spend(sender, size + 1024):
            return core.drop("asks too much")
        if found or message.first <= core.executed:
            core.send(sender, Decisions(message.first, tuple(found), None if found else core.stable))
        return None

    def on_decisions(self, sender: str, message: Decisions) -> None:
        core, ordering = self._core, self._ordering
        if len(message.decided) > limits.LOG:
            return core.drop("an answer too long")
        asked = self._asked is not None and self._asked[0] == sender
        if asked:
            self._asked = None
        before = ordering.handed
        for decided in message.decided:
            sequence = decided.certificate.sequence
            if sequence != ordering.handed + 1 or sequence > core.executed + _AHEAD:
                continue
            epoch = core.epochs.deciding(sequence)
            if (
                epoch is None
                or len(decided.proposal) > limits.PROPOSAL_SIZE
                or digest(decided.proposal) != decided.certificate.digest
                or not commit_holds(decided.certificate, epoch, core.signatures)
            ):
                return core.drop("a decision that is none")
            ordering.decide(decided)
            if ordering.handed < sequence:
                break
        if asked and ordering.handed > before:
            self._missing = (ordering.handed + 1, core.now - self._patience())
        elif asked and not message.decided:
            self._without[sender] = message.first
            if message.stable is not None:
                self.on_stable(message.stable)
        return None

    def publish(self, decided: Decided) -> None:
        """Followers hear of what was just executed."""
        if self.followers:
            message = Decisions(decided.certificate.sequence, (decided,))
            self._core.broadcast(message, self.followers)

    def _fetch_decided(self) -> None:
        core, first = self._core, self._ordering.handed + 1
        if not self._behind() or core.syncing or core.diverged:
            self._asked = None
            self._missing = (first, core.now)
            return
        if self._missing[0] != first:
            self._missing = (first, core.now)
        if self._asked is not None:
            if core.now < self._asked[1]:
                return
            self._without[self._asked[0]] = first
            self._asked = None
        if core.now < self._missing[1] + self._patience() or first > core.executed + _AHEAD:
            return
        sources = self._sources(first)
        if not sources:
            # Everybody was asked in vain, or nobody claims to have it: whoever has more by now is asked again.
            self._missing = (first, core.now)
            self.soon()
            if self._without:
                self._give_up(first)
            return
        source = sources[core.dice.randrange(len(sources))]
        if not core.is_voter and source in core.voters:
            self._source = source
        self._asked = (source, core.now + core.settings.status_interval)
        core.send(source, FetchDecided(first))

    def _sources(self, first: int) -> list[str]:
        return [
            voter
            for voter in self._core.informants
            if voter in self._claims
            and self._claims[voter].executed >= first
            and self._without.get(voter) != first
        ]

    def _behind(self) -> bool:
        first = self._ordering.handed + 1
        return (
            self._ordering.agreed >= first
            or self._core.low >= first
            or any([claim.executed >= first for claim in self._claims.values()])  # noqa: C419 - each event, few claims
        )

    def _patience(self) -> Micros:
        """How long something may be missing before it is asked for: it often is on its way."""
        return self._core.settings.status_interval // 10

    # Checkpoints and the chain of epochs.

    def on_stable(self, certificate: CheckpointCertificate) -> None:
        core = self._core
        if certificate.epoch != core.epoch.number or certificate.checkpoint.sequence <= core.low:
            return core.drop("an old checkpoint")
        if not self._checkpoints.holds(certificate):
            return core.drop("a checkpoint that is none")
        self._checkpoints.stabilise(certificate)
        return None

    def on_chain(self, message: Chain) -> None:
        core = self._core
        if len(message.boundaries) > limits.LISTED:
            return core.drop("a chain too long")
        for boundary in message.boundaries:
            self.on_stable(boundary.certificate)
        return None

    # States.

    def _give_up(self, first: int) -> None:
        """Nobody gave the next decision: only a state helps, if one is certified. All may be asked anew."""
        self._without.clear()
        if self._core.low >= first:
            self._fetch_state()

    def advance(self) -> None:
        core = self._core
        # Whether something is lacking costs more to find out than whether that would change anything.
        if self._next_status > core.now + core.settings.status_interval and self._lacks():
            self.soon()
        self._fetch_bodies()
        self._fetch_decided()
        far = core.low - core.executed > core.settings.replay_gap
        if core.stable is not None and (far or core.diverged):
            self._fetch_state()

    def _fetch_state(self) -> None:
        """Names the highest certified checkpoint. One fetch at a time: whoever has failed, for nobody keeps that state
        any more, is told the highest of then."""
        core, stable = self._core, self._core.stable
        # What the host was given it executes: a state that is no further would take it back.
        if stable is None or core.syncing or core.now < self._retry:
            return
        if core.low <= self._ordering.handed and not core.diverged:
            return
        core.syncing = True
        self._target = stable.checkpoint.sequence
        sources = tuple(signer for signer, _ in stable.signatures if signer != core.me)
        core.emit(FetchState(certificate=stable, sources=sources))

    def state_failed(self, sequence: int) -> None:
        core = self._core
        if not core.syncing or sequence != self._target:
            return
        core.syncing = False
        self._retry = core.now + core.settings.status_interval
        self.soon()

    def state_installed(self) -> None:
        core = self._core
        core.syncing = core.diverged = False
        self._without.clear()
        self._asked = None
        self._missing = (self._ordering.handed + 1, core.now - self._patience())

    def begin_epoch(self) -> None:
        """Who votes has changed. Followers learn it at once, and so does every voter that was none."""
        core = self._core
        self._claims = {voter: claim for voter, claim in self._claims.items() if voter in core.informants}
        self._without.clear()
        self._asked = None
        boundary = core.epochs.boundary
        if boundary is not None:
            told = dict.fromkeys([*self.followers, *core.voters])
            core.broadcast(Chain((boundary,)), told)
        self._next_status = core.now

    def _spend(self, sender: str, size: int) -> bool:
        core = self._core
        since, spent = self._served.get(sender, (core.now, 0))
        if core.now - since >= core.settings.status_interval:
            since, spent = core.now, 0
        if spent + size > _BUDGET:
            return False
        if sender not in self._served and len(self._served) >= 2 * limits.FOLLOWERS:
            del self._served[next(iter(self._served))]
        self._served[sender] = (since, spent + size)
        return True
