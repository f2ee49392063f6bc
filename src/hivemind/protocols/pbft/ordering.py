"""The normal case: PRE-PREPARE, PREPARE, COMMIT, and execution strictly in order.

Proposals of a view are accepted in the order of their sequences, each only when the one before it is. So no
sequence can be skipped, the same request cannot be ordered twice in a view, time does not go back, and the
pipeline's bound holds: nothing is prepared that is more than `pipeline` beyond what this node has executed.
"""

from __future__ import annotations

from hivemind.protocols.machine import Micros
from hivemind.protocols.pbft import limits
from hivemind.protocols.pbft.batching import Batching
from hivemind.protocols.pbft.certificate import DIGEST_SIZE, joined
from hivemind.protocols.pbft.core import Core
from hivemind.protocols.pbft.durable import Accepted, WasPrepared
from hivemind.protocols.pbft.events import Execute, Executed, Settled
from hivemind.protocols.pbft.pending import Pending
from hivemind.protocols.pbft.slots import Ballots, Slot
from hivemind.protocols.pbft.wire import (
    NULL,
    NULL_DIGEST,
    Commit,
    CommitCertificate,
    Decided,
    Malformed,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    Proposal,
    Reply,
    Request,
    Said,
    Vote,
    decode_body,
    decode_proposal,
    digest,
    encode,
)
from hivemind.security.statement import Statement


class Ordering:
    def __init__(self, core: Core, pending: Pending) -> None:
        self._core, self._pending = core, pending
        self.slots: dict[int, Slot] = {}
        """Above the last stable checkpoint."""
        self.accepted = max(core.low, core.executed)
        """Up to here all proposals of this view are accepted, or need not be any more."""
        self.handed = core.executed
        """Up to here everything was given to the host."""
        self.agreed = core.executed
        """The highest that is proved to be decided."""
        self.decisions: dict[int, Decided] = {}
        """Decided, and not yet given to the host, for something before is not."""
        self._running: dict[int, tuple[Decided, Proposal]] = {}
        """Given to the host, which has not answered."""
        self._bodies: dict[bytes, bytes] = {}
        """Proposals by digest, of slots that are not executed."""
        self._unvoted: dict[int, None] = {}
        """Accepted or given, and not voted for yet."""
        self._early: dict[str, list[Said]] = {}
        self._batching = Batching(core.settings, pending)

    # Messages.

    def on_vote(self, sender: str, said: Said, body: Vote) -> None:
        core, signer = self._core, said.statement.signer
        if signer not in core.voters or len(body.digest) != DIGEST_SIZE or body.view < 0:
            return core.drop("not a voter's vote")
        if body.view > core.view or (body.view == core.view and not core.active):
            return self._keep_early(sender, said, body)
        if body.view < core.view or not core.low < body.sequence <= core.high:
            return core.drop("outside view or watermarks")
        if isinstance(body, PrePrepare):
            return self._on_preprepare(said, body)
        slot = self._slot(body.sequence)
        if isinstance(body, Prepare) and signer == core.primary:
            return core.drop("prepare of the primary")
        ballots = slot.prepares if isinstance(body, Prepare) else slot.commits
        first = signer not in ballots.cast
        self._cast(ballots, sender, said.statement, body)
        if sender == signer and first and slot.offer is not None and body.digest != slot.digest:
            self._confront(slot, said.statement)
        return self._progress(slot)

    def _confront(self, slot: Slot, vote: Statement) -> None:
        """Its voter votes for something else than the primary offered here. If it was offered that, the two offers
        convict the primary: each may have but one, so it is shown this one. If it says that here alone, its two votes
        convict itself: each may have but one, so all others are shown this one."""
        core = self._core
        if slot.offer is not None:
            core.send(vote.signer, core.said(slot.offer))
        core.broadcast(core.said(vote), [voter for voter in core.voters if voter != vote.signer])

    def _on_preprepare(self, said: Said, body: PrePrepare) -> None:
        core, statement = self._core, said.statement
        if statement.signer != core.primary:
            return core.drop("pre-prepare of another than the primary")
        if said.attached and digest(said.attached) != body.digest:
            return core.drop("proposal does not match")
        slot = self._slot(body.sequence)
        if slot.offer is None:
            if not core.genuine(statement):
                return core.drop("signature")
            slot.offer, slot.digest, slot.arrived = statement, body.digest, core.now
            for ballots in (slot.prepares, slot.commits):
                for vote in [vote for vote in ballots.cast.values() if vote.digest != body.digest]:
                    self._confront(slot, vote.statement)
        elif slot.digest != body.digest:
            if core.genuine(statement):
                core.convict(statement.signer, slot.offer, statement)
            return core.drop("a second pre-prepare")
        if said.attached and slot.sequence > core.executed:
            self._bodies[body.digest] = said.attached
        self.advance()
        return self._progress(slot)

    def _cast(self, ballots: Ballots, sender: str, statement: Statement, body: Prepare | Commit) -> None:
        """Over its signer's own channel a vote may wait unverified: only its signer could have spoilt it."""
        core = self._core
        good = sender != statement.signer
        if good and not core.genuine(statement):
            return core.drop("signature")
        earlier = ballots.add(statement, body.digest, good)
        if earlier is None or earlier.digest == body.digest:
            return None
        if core.genuine(earlier.statement):
            if core.genuine(statement):
                core.convict(statement.signer, earlier.statement, statement)
        else:
            del ballots.cast[statement.signer]
            ballots.add(statement, body.digest, good)
        return core.drop("a second vote")

    def _keep_early(self, sender: str, said: Said, body: Vote) -> None:
        """It may overtake the NEW-VIEW that it needs. Without its body: that can be fetched."""
        early = self._early.setdefault(said.statement.signer, [])
        if sender != said.statement.signer or body.view > self._core.view + limits.VIEWS_AHEAD:
            return self._core.drop("early")
        if len(early) >= limits.EARLY:
            del early[0]
        early.append(Said(said.epoch, said.statement))
        return None

    def on_body(self, data: bytes) -> None:
        """A proposal that was asked for, or not."""
        key = digest(data)
        if key not in self.lacking_bodies():
            return self._core.drop("unwanted proposal")
        self._bodies[key] = data
        self.advance()
        for slot in list(self.slots.values()):
            self._progress(slot)
        return None

    # What follows from what came.

    def advance(self) -> None:
        """Does whatever can be done now. Changes nothing when it is called twice."""
        core = self._core
        if core.active and core.is_voter:
            self.accepted = max(self.accepted, core.low, core.executed)
            for sequence in list(self._unvoted):
                self._vote(self.slots[sequence])
            while self._accept(self.accepted + 1):
                pass
            self._propose()
        self._hand()

    def _accept(self, sequence: int) -> bool:
        core, slot = self._core, self.slots.get(sequence)
        if slot is None or slot.offer is None or slot.refused or slot.again > core.now:
            return False
        if sequence > min(core.high, core.executed + core.settings.pipeline):
            return False
        data = self.body(slot.digest, sequence)
        if data is None:
            return False
        proposal = _content(data)
        slot.refused = "unreadable" if proposal is None else self._unsound(sequence, proposal)
        if slot.refused or proposal is None:
            return False
        if not self._timely(sequence, proposal):
            slot.again = core.now + core.settings.status_interval
            return False
        self._take_in(slot, proposal)
        self.accepted = sequence
        self._unvoted[sequence] = None
        self._vote(slot)
        return True

    def _unsound(self, sequence: int, proposal: Proposal) -> str:
        """Why nobody honest proposes this; empty: it is sound. Requests of an unsound proposal may be fine: who
        wants them executed sends them to all voters."""
        core, seen = self._core, dict[str, None]()
        for request in proposal.requests:
            if request.id in seen or self._pending.flying.get(request.id, sequence) != sequence:
                return "a request comes twice"
            seen[request.id] = None
            if len(request.id) > limits.IDENTIFIER or len(request.body) > limits.REQUEST_SIZE:
                return "a request is too large"
            known = self._pending.all.get(request.id)
            if (known is None or known.request != request) and not core.host.valid(request):
                return "a request is not valid"
            if core.host.outcome(request.id) is not None:
                return "a request is executed"
        return ""

    def _timely(self, sequence: int, proposal: Proposal) -> bool:
        """Its time is near this node's own, and not before the one of the proposal before. That may change: the
        requests of one that is not timely are watched, so that its primary cannot sit on them."""
        core = self._core
        before = self.slots.get(sequence - 1)
        wall = core.host.wall(core.now)
        if abs(proposal.time - wall) <= core.settings.clock_bound and (
            before is None or before.proposal is None or proposal.time >= before.proposal.time
        ):
            return True
        for request in proposal.requests:
            if request.id not in self._pending.all and not self._pending.refuses(request):
                self._pending.add(request, core.now, mine=False)
        core.drop("time of a proposal")
        return False

    def _take_in(self, slot: Slot, proposal: Proposal) -> None:
        slot.proposal = proposal
        if slot.sequence > self._core.executed:
            for request in proposal.requests:
                self._pending.fly(request.id, slot.sequence)

    def _vote(self, slot: Slot) -> None:
        """PREPARE, durable before it is sent."""
        core = self._core
        if not core.may_vote or slot.voted or slot.offer is None:
            return
        data = self.body(slot.digest, slot.sequence)
        if data is None or self._contradicts(slot):
            return
        if slot.proposal is None:
            self._take_in(slot, _content(data) or Proposal(0))
        self._unvoted.pop(slot.sequence, None)
        slot.voted = True
        core.persist(Accepted(core.epoch.number, slot.offer, b"" if slot.sequence <= core.executed else data))
        if core.me != core.primary:
            statement = core.state(Prepare(core.view, slot.sequence, slot.digest))
            slot.prepares.add(statement, slot.digest, good=True)
            core.broadcast(core.said(statement))
        self._progress(slot)

    def _contradicts(self, slot: Slot) -> bool:
        """Something else was executed there: more than f voters lie, or this node is wrong."""
        if slot.sequence > self._core.executed:
            return False
        decided = self._core.host.decided(slot.sequence)
        return decided is not None and decided.certificate.digest != slot.digest

    def _progress(self, slot: Slot) -> None:
        """*prepared* -> COMMIT; *committed-local* -> decided."""
        core = self._core
        if slot.voted and not slot.spoken and core.may_vote and core.active:
            self._commit(slot)
        if slot.sequence <= self.handed or slot.sequence in self.decisions:
            return
        if slot.certificate is None:
            slot.certificate = self._committed(slot)
        if slot.certificate is not None:
            data = self.body(slot.certificate.digest, slot.sequence)
            if data is not None:
                self.decide(Decided(slot.certificate, data))

    def _commit(self, slot: Slot) -> None:
        core = self._core
        found = slot.prepares.gathered(slot.digest, core.quorum - 1, core.genuine)
        if found is None or slot.offer is None:
            return
        slot.prepared = PreparedCertificate(
            core.view, slot.sequence, slot.digest, slot.offer.signature, joined(found, core.quorum - 1)
        )
        slot.spoken = True
        core.persist(WasPrepared(core.epoch.number, slot.prepared))
        statement = core.state(Commit(core.view, slot.sequence, slot.digest))
        slot.commits.add(statement, slot.digest, good=True)
        core.broadcast(core.said(statement))

    def _committed(self, slot: Slot) -> CommitCertificate | None:
        core = self._core
        for digest_ in slot.commits.leading(core.quorum):
            found = slot.commits.gathered(digest_, core.quorum, core.genuine)
            if found is not None:
                return CommitCertificate(
                    core.epoch.number, slot.view, slot.sequence, digest_, joined(found, core.quorum)
                )
        return None

    def decide(self, decided: Decided) -> None:
        """`decided` is verified."""
        sequence = decided.certificate.sequence
        self.agreed = max(self.agreed, sequence)
        if sequence > self.handed:
            self.decisions.setdefault(sequence, decided)
            self._hand()

    def _hand(self) -> None:
        while not (self._core.syncing or self._core.diverged) and (
            decided := self.decisions.pop(self.handed + 1, None)
        ):
            self.handed += 1
            # A quorum has decided it, so all do the same with what cannot be read: nothing.
            proposal = _content(decided.proposal) or Proposal(0)
            self._running[self.handed] = (decided, proposal)
            self._core.emit(
                Execute(
                    sequence=self.handed,
                    time=proposal.time,
                    requests=proposal.requests,
                    certificate=decided.certificate,
                    proposal=decided.proposal,
                )
            )

    # The primary's part.

    def _propose(self) -> None:
        core = self._core
        while core.primary == core.me and core.may_vote and core.executed >= core.low:
            sequence = self.accepted + 1
            if sequence > min(core.high, core.executed + core.settings.pipeline) or self._unknown():
                return
            time = max(core.host.wall(core.now), self._newest())
            requests = self._batch(time)
            if requests is None:
                return
            self._offer(sequence, Proposal(time, requests))

    def _unknown(self) -> bool:
        """What the view began with is not all known: its requests might be proposed twice."""
        return any(self.slots[sequence].proposal is None for sequence in self._unvoted)

    def _batch(self, time: int) -> tuple[Request, ...] | None:
        """What to propose now; None: nothing. Requests are collected until a batch is full or has waited long
        enough."""
        core, settings, pending = self._core, self._core.settings, self._pending
        if not pending.idle and (core.now >= (self.batch_at() or 0) or self._batching.is_full()):
            return pending.take(settings.batch_requests, settings.batch_size)
        due = core.position.due
        if core.ends or (due is not None and time >= due and self._newest() < due):
            return ()
        return None

    def batch_at(self) -> Micros | None:
        """When what is collected is proposed, full or not."""
        return self._batching.due(in_flight=self.accepted > self._core.executed)

    def _newest(self) -> int:
        """The highest time that is proposed and not executed."""
        times = [proposal.time for _, proposal in self._running.values()]
        for sequence in range(self._core.executed + 1, self.accepted + 1):
            slot = self.slots.get(sequence)
            if slot is not None and slot.proposal is not None:
                times.append(slot.proposal.time)
        return max(times, default=0)

    def _offer(self, sequence: int, proposal: Proposal) -> None:
        core, data = self._core, encode(proposal)
        slot = self._slot(sequence)
        slot.digest = digest(data)
        slot.offer = core.state(PrePrepare(core.view, sequence, slot.digest))
        slot.arrived = core.now
        self._bodies[slot.digest] = data
        self.accepted = sequence
        self._take_in(slot, proposal)
        if proposal.requests:
            self._batching.proposed(sequence, core.now)
        slot.voted = True
        core.persist(Accepted(core.epoch.number, slot.offer, data))
        core.broadcast(core.said(slot.offer, data))
        self._progress(slot)

    # What the host answers.

    def executed(self, event: Executed) -> Decided:
        core = self._core
        sequence = event.position.sequence
        if sequence != core.executed + 1 or sequence not in self._running:
            raise ValueError(f"sequence {sequence} was not the one to be executed next")
        decided, proposal = self._running.pop(sequence)
        core.position = event.position
        if proposal.requests:
            self._batching.executed(sequence, core.now)
        clients: dict[str, list[tuple[str, bytes]]] = {}
        for request in proposal.requests:
            result = event.results.get(request.id, b"")
            waiting = self._pending.remove(request.id)
            if waiting is not None and waiting.mine:
                core.emit(Settled(request=request.id, result=result))
            if request.client and request.client != core.me and request.client not in core.voters:
                clients.setdefault(request.client, []).append((request.id, result))
        if core.may_vote:
            for client, results in clients.items():
                self.reply(client, tuple(results))
        # Empty batches look alike: another slot may still need the same bytes.
        if not any(decided.certificate.digest in slot.digests() for slot in self._unexecuted()):
            self._bodies.pop(decided.certificate.digest, None)
        return decided

    def reply(self, client: str, results: tuple[tuple[str, bytes], ...]) -> None:
        core = self._core
        core.send(client, core.said(core.state(Reply(core.view, client, results))))

    # Views, epochs and checkpoints.

    def enter(self, given: list[tuple[Statement, PrePrepare]]) -> None:
        """A view begins with these proposals, which its NEW-VIEW has proved."""
        self.give(given)
        self._prune()
        early, self._early = self._early, {}
        self.advance()
        for signer, kept in early.items():
            for said in kept:
                self._again(signer, said)

    def _again(self, signer: str, said: Said) -> None:
        body = decode_body(said.statement)
        if isinstance(body, Vote):
            self.on_vote(signer, said, body)

    def begin_epoch(self) -> None:
        """Nothing of the last epoch counts in the new one; what was decided stays decided."""
        core = self._core
        self.slots.clear()
        self._early.clear()
        self._unvoted.clear()
        self._pending.land()
        self.accepted = max(core.low, core.executed)
        self._prune()

    def collect(self) -> None:
        """A checkpoint is stable: what is below is not voted on any more."""
        for sequence in [sequence for sequence in self.slots if sequence <= self._core.low]:
            del self.slots[sequence]
            self._unvoted.pop(sequence, None)
        self._prune()

    def installed(self) -> None:
        """The host stands further on, by a state that it fetched."""
        core = self._core
        self.handed = core.executed
        self.agreed = max(self.agreed, core.executed)
        self._running.clear()
        for sequence in [sequence for sequence in self.decisions if sequence <= self.handed]:
            del self.decisions[sequence]
        for id in list(self._pending.all):
            result = core.host.outcome(id)
            if result is not None:
                waiting = self._pending.remove(id)
                if waiting is not None and waiting.mine:
                    core.emit(Settled(request=id, result=result))

    # What the records tell.

    def give(self, given: list[tuple[Statement, PrePrepare]]) -> None:
        """The proposals that a view begins with; nothing is done about them yet."""
        core = self._core
        for slot in self.slots.values():
            slot.clear(core.view)
        self._pending.land()
        self._unvoted.clear()
        self.accepted = max(core.low, core.executed)
        for statement, body in given:
            if body.sequence > core.low:
                slot = self._slot(body.sequence)
                slot.offer, slot.digest, slot.given = statement, body.digest, True
                slot.arrived = core.now
                self.accepted = max(self.accepted, body.sequence)
                self._unvoted[body.sequence] = None

    def restore_vote(self, statement: Statement, body: PrePrepare) -> None:
        slot = self._slot(body.sequence)
        slot.offer, slot.digest, slot.voted = statement, body.digest, True
        self._unvoted.pop(body.sequence, None)
        self.accepted = max(self.accepted, body.sequence)

    def restore_prepared(self, certificate: PreparedCertificate) -> None:
        slot = self._slot(certificate.sequence)
        if slot.prepared is None or slot.prepared.view <= certificate.view:
            slot.prepared = certificate
        if certificate.view == self._core.view and self._core.active and slot.voted:
            slot.spoken = True

    def remember(self, body: bytes) -> None:
        self._bodies[digest(body)] = body

    def restored(self) -> None:
        """All records are read: own votes are votes again, to be sent to who asks."""
        core = self._core
        self.collect()
        for sequence, slot in self.slots.items():
            data = self.body(slot.digest, sequence)
            if slot.voted and data is not None:
                self._take_in(slot, _content(data) or Proposal(0))
            if slot.voted and core.me != core.primary:
                statement = core.state(Prepare(slot.view, sequence, slot.digest))
                slot.prepares.add(statement, slot.digest, good=True)
            if slot.spoken:
                statement = core.state(Commit(slot.view, sequence, slot.digest))
                slot.commits.add(statement, slot.digest, good=True)

    def body(self, digest_: bytes, sequence: int) -> bytes | None:
        """The proposal with that digest, if it is here."""
        if digest_ == NULL_DIGEST:
            return NULL
        found = self._bodies.get(digest_)
        if found is None and sequence <= self._core.executed:
            decided = self._core.host.decided(sequence)
            if decided is not None and decided.certificate.digest == digest_:
                return decided.proposal
        return found

    def find_body(self, digest_: bytes) -> bytes | None:
        """The same for somebody who asks, of any slot."""
        for slot in self.slots.values():
            if digest_ == slot.digest or (slot.prepared is not None and slot.prepared.digest == digest_):
                return self.body(digest_, slot.sequence)
        return self._bodies.get(digest_)

    def lacking_bodies(self) -> list[bytes]:
        """Digests of proposals that are wanted here."""
        wanted: list[bytes] = []
        for slot in self._unsettled():
            offered = slot.offer is not None and not slot.voted
            if offered and self.body(slot.digest, slot.sequence) is None:
                wanted.append(slot.digest)
            proof = slot.certificate if slot.sequence > self.handed else None
            if proof is not None and self.body(proof.digest, slot.sequence) is None:
                wanted.append(proof.digest)
        return wanted

    def _slot(self, sequence: int) -> Slot:
        slot = self.slots.get(sequence)
        if slot is None:
            slot = self.slots[sequence] = Slot(sequence, self._core.view)
        return slot

    def _prune(self) -> None:
        """Forgets proposals that no slot is about; the ledger has what is executed."""
        wanted = {digest: None for slot in self._unexecuted() for digest in slot.digests()}
        self._bodies = {digest: body for digest, body in self._bodies.items() if digest in wanted}

    def _unexecuted(self) -> list[Slot]:
        first, last = self._core.executed + 1, max(self.slots, default=0)
        return [self.slots[sequence] for sequence in range(first, last + 1) if sequence in self.slots]

    def _unsettled(self) -> list[Slot]:
        """Not executed, or given by the view and not voted for yet."""
        executed = self._core.executed
        given = [self.slots[sequence] for sequence in sorted(self._unvoted) if sequence <= executed]
        return [slot for slot in given if slot.given] + self._unexecuted()


def _content(data: bytes) -> Proposal | None:
    try:
        return decode_proposal(data)
    except Malformed:
        return None
