"""A node's part in agreement: Castro & Liskov's PBFT (OSDI '99, TOCS '02), with epochs.

One machine for every node. In an epoch that lists the node it is a voter; in any other a learner, which follows
commit certificates. It becomes the other when the chain of epochs says so.

Each event changes one part (`ordering`, `checkpoints`, `viewchange`, `catchup`, `amnesia`); after it, all are asked
what can be done now, until nothing can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hivemind.protocols.machine import MILLISECOND, Dice, Micros, Received, Signer, Tick
from hivemind.protocols.pbft import invariants, limits
from hivemind.protocols.pbft.amnesia import Amnesia
from hivemind.protocols.pbft.catchup import CatchUp
from hivemind.protocols.pbft.checkpoints import Checkpoints
from hivemind.protocols.pbft.client import Client
from hivemind.protocols.pbft.core import Core
from hivemind.protocols.pbft.durable import decode_records
from hivemind.protocols.pbft.epochs import Epochs
from hivemind.protocols.pbft.events import (
    Effect,
    Event,
    Executed,
    Host,
    Position,
    Refused,
    Settled,
    Standing,
    StateInstalled,
    Submitted,
)
from hivemind.protocols.pbft.evidence import convicted
from hivemind.protocols.pbft.memory import Memory
from hivemind.protocols.pbft.ordering import Ordering
from hivemind.protocols.pbft.pending import Pending
from hivemind.protocols.pbft.settings import Settings
from hivemind.protocols.pbft.viewchange import ViewChanges
from hivemind.protocols.pbft.wire import (
    Accused,
    Bodies,
    Chain,
    Checkpoint,
    Decisions,
    FetchBodies,
    FetchDecided,
    Malformed,
    NewView,
    Packet,
    Recall,
    Recalled,
    Reply,
    Request,
    Said,
    Several,
    Stable,
    Status,
    ViewChange,
    Vote,
    Wish,
    decode,
    decode_body,
)

_SPREAD = 16
"""Requests that all voters are told of at a time, when they wait too long."""


class Replica:
    """`epochs`: the chain as far as the host has kept it (`EpochBegan`). `position`: what the host has executed.
    `records`: what `Persist` kept, in order; one that cannot be read raises `Corrupt`, the host drops a torn tail
    itself. `amnesiac`: this node may have voted before and its records are gone: it abstains until nothing that it
    may have voted on can matter any more."""

    def __init__(
        self,
        *,
        signer: Signer,
        epochs: Epochs,
        position: Position,
        host: Host,
        dice: Dice,
        settings: Settings | None = None,
        records: Sequence[bytes] = (),
        amnesiac: bool = False,
    ) -> None:
        settings = settings or Settings()
        self._core = core = Core(signer, epochs, position, host, dice, settings)
        self._pending = Pending(settings)
        self._ordering = Ordering(core, self._pending)
        self._checkpoints = Checkpoints(core)
        self._views = ViewChanges(core, self._pending, self._ordering, self._checkpoints)
        self._catchup = CatchUp(core, self._ordering, self._checkpoints, self._views)
        self._amnesia = Amnesia(core, self._checkpoints)
        self._spread_last = 0
        self._memory = Memory(core, self._ordering, self._checkpoints, self._views, self._amnesia)
        self._client = Client(signer=signer, epochs=epochs, settings=settings)
        self._ahead: list[tuple[str, Said]] = []
        """Statements of the next epoch, which may have begun elsewhere; without proposals, which can be fetched."""
        self._memory.restore(decode_records(records))
        if amnesiac and not core.abstains:
            self._amnesia.begin()
        self._epoch, self._low, self._view = self._stands()

    # The door.

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        """Effects are performed in order, see `events`. Never raises for what comes from others; `ValueError` for
        an `Executed` or `StateInstalled` that was not asked for or does not hold."""
        core = self._core
        core.now = max(core.now, now)
        if isinstance(event, Received):
            self._receive(event.sender, event.message)
        elif isinstance(event, Tick):
            self._tick()
        elif isinstance(event, Submitted):
            self._submit(event.request)
        elif isinstance(event, Executed):
            self._executed(event)
        elif isinstance(event, StateInstalled):
            self._installed(event)
        else:
            self._catchup.state_failed(event.sequence)
        self._settle()
        return core.taken()

    def deadline(self) -> Micros | None:
        """Call `handle(Tick(), now)` once before the first: it says hello and sets its timers."""
        core = self._core
        wanted: list[Micros | None] = [
            self._views.deadline(),
            self._spread_at(),
            self._catchup.deadline(),
            self._amnesia.deadline(),
            self._client.deadline(),
        ]
        wanted += [at for at in self._proposing_at() if at > core.now]
        # What is past and could not be done waits for something else: it is looked at again soon, not at once.
        return max(min([at for at in wanted if at is not None]), core.now + 1)

    def _proposing_at(self) -> list[Micros]:
        """When something may have to be proposed. After each event is looked, too: what is past cannot be yet."""
        core, wanted = self._core, list[Micros]()
        if core.is_voter and core.position.due is not None:
            wanted.append(core.now + (core.position.due - core.host.wall(core.now)) * MILLISECOND)
            wanted.append(wanted[0] + core.settings.clock_bound * MILLISECOND)
        batch_at = self._ordering.batch_at()
        if core.me == core.primary and core.active and batch_at is not None:
            wanted.append(batch_at)
        return wanted

    def standing(self) -> Standing:
        core = self._core
        role = "voter" if core.is_voter else "learner"
        if core.is_voter and core.abstains:
            role = "abstaining"
        if core.diverged:
            role = "diverged"
        return Standing(
            role=role,
            epoch=core.epoch,
            view=core.view,
            primary=core.primary,
            active=core.active,
            executed=core.executed,
            agreed=max(self._ordering.agreed, core.low),
            stable=core.low,
            pending=len(self._pending) + len(self._client),
            syncing=core.syncing,
            heard=tuple((voter, core.heard.get(voter, 0)) for voter in core.voters if voter != core.me),
            claimed=self._catchup.claimed(),
            dropped=tuple(sorted(core.dropped.items())),
        )

    def check(self) -> None:
        invariants.check(self._core, self._pending, self._ordering, self._checkpoints, self._views)
        self._client.check()

    # Events.

    def _receive(self, sender: str, message: bytes, *, alone: bool = True) -> None:
        core = self._core
        try:
            packet = decode(message)
            body = decode_body(packet.statement) if isinstance(packet, Said) else None
        except Malformed:
            return core.drop("malformed")
        if sender in core.voters:
            core.heard[sender] = core.now
        if isinstance(packet, Said):
            return self._said(sender, packet, body)
        if isinstance(packet, Several):
            return self._several(sender, packet) if alone else core.drop("several within several")
        return self._told(sender, packet)

    def _several(self, sender: str, packet: Several) -> None:
        """What follows from all of them is looked at once, at the end, unless one changes where this node stands."""
        if len(packet.messages) > limits.TOGETHER:
            return self._core.drop("too many at once")
        for message in packet.messages:
            self._receive(sender, message, alone=False)
            if self._stands() != (self._epoch, self._low, self._view):
                self._settle()
        return None

    def _stands(self) -> tuple[int, int, tuple[int, bool]]:
        core = self._core
        return core.epoch.number, core.low, (core.view, core.active)

    def _said(self, sender: str, said: Said, body: Any) -> None:
        core = self._core
        if said.epoch != core.epoch.number:
            # Who is in an earlier epoch hears of this one when it tells its status; a later one is asked for.
            if said.epoch == core.epoch.number + 1 and len(self._ahead) < limits.AHEAD:
                self._ahead.append((sender, Said(said.epoch, said.statement)))
            if said.epoch > core.epoch.number and sender in core.voters:
                self._catchup.soon()
            return core.drop("another epoch")
        if isinstance(body, Reply):
            for effect in self._client.on_reply(said):
                core.emit(effect)
            return None
        if not core.is_voter:
            return core.drop("a vote, to a learner")
        if isinstance(body, Vote):
            return self._ordering.on_vote(sender, said, body)
        if said.attached:
            return core.drop("something attached")
        if isinstance(body, Checkpoint):
            return self._checkpoints.on_checkpoint(sender, said, body)
        if isinstance(body, ViewChange):
            return self._views.on_view_change(said, body)
        assert isinstance(body, NewView)
        return self._views.on_new_view(said, body)

    def _told(self, sender: str, packet: Packet) -> None:
        catchup = self._catchup
        if isinstance(packet, Wish):
            self._wish(sender, packet.request)
        elif isinstance(packet, Status):
            catchup.on_status(sender, packet)
        elif isinstance(packet, FetchBodies):
            catchup.on_fetch_bodies(sender, packet)
        elif isinstance(packet, Bodies):
            catchup.on_bodies(packet)
        elif isinstance(packet, FetchDecided):
            catchup.on_fetch_decided(sender, packet)
        elif isinstance(packet, Decisions):
            catchup.on_decisions(sender, packet)
        elif isinstance(packet, Chain):
            catchup.on_chain(packet)
        elif isinstance(packet, Stable):
            catchup.on_stable(packet.certificate)
        elif isinstance(packet, Recall):
            self._amnesia.on_recall(sender, packet)
            if (view := self._amnesia.obliges(sender, packet)) is not None:
                self._views.leave(view)
        elif isinstance(packet, Recalled):
            self._amnesia.on_recalled(sender, packet)
        elif isinstance(packet, Accused):
            self._accused(packet)

    def _accused(self, packet: Accused) -> None:
        core, evidence = self._core, packet.evidence
        epoch = core.epochs.numbered(evidence.epoch)
        signer = evidence.first.signer
        if epoch is None or epoch.number != core.epoch.number or signer not in epoch.voters:
            return core.drop("evidence of another epoch")
        if core.is_convicted(signer):
            return None
        if convicted(evidence, core.signatures, epoch) is None:
            return core.drop("evidence that proves nothing")
        return core.convict(signer, evidence.first, evidence.second)

    def _submit(self, request: Request) -> None:
        core = self._core
        result = core.host.outcome(request.id)
        if result is not None:
            return core.emit(Settled(request=request.id, result=result))
        if not core.is_voter:
            for effect in self._client.handle(Submitted(request), core.now):
                core.emit(effect)
            return None
        known = self._pending.all.get(request.id)
        if known is not None:
            known.mine = True
            return None
        reason = self._pending.refuses(request) or ("" if core.host.valid(request) else "it is not valid")
        if reason:
            return core.emit(Refused(request=request.id, reason=reason))
        self._pending.add(request, core.now, mine=True)
        if core.active and core.primary != core.me:
            core.send(core.primary, Wish(request))
        return None

    def _wish(self, sender: str, request: Request) -> None:
        """REQUEST. A backup passes it on to the primary and waits for it; one that was executed is answered."""
        core, known = self._core, self._pending.all.get(request.id)
        if not core.is_voter:
            return core.drop("a request, to a learner")
        if known is not None:
            known.spread = known.spread or (sender in core.voters and core.me != core.primary)
            return None
        reason = self._pending.refuses(request)
        result = None if reason else core.host.outcome(request.id)
        if result is not None:
            if request.client == sender and core.may_vote:
                self._ordering.reply(sender, ((request.id, result),))
            return None
        if not reason and not core.host.valid(request):
            reason = "it is not valid"
        if reason:
            return core.drop(f"a request: {reason}")
        self._pending.add(request, core.now, mine=False)
        if sender not in core.voters and core.active and core.primary != core.me:
            core.send(core.primary, Wish(request))
        return None

    def _executed(self, event: Executed) -> None:
        core, following = self._core, event.position.next
        if following is not None and following.number == core.epoch.number + 1:
            told = core.position.next
            if told is None and following.since <= event.position.sequence + core.settings.pipeline:
                raise ValueError(f"an epoch begins at least {limits.MARGIN} sequences after it was agreed")
        decided = self._ordering.executed(event)
        for id, result in event.results.items():
            if self._client.settle(id):
                core.emit(Settled(request=id, result=result))
        self._checkpoints.vouch(event.position)
        self._checkpoints.tell()
        self._views.progress(decided.certificate.view)
        self._catchup.publish(decided)

    def _installed(self, event: StateInstalled) -> None:
        core, checkpoint = self._core, event.certificate.checkpoint
        if not self._checkpoints.holds(event.certificate):
            raise ValueError("the certificate of the installed state does not hold")
        if (checkpoint.sequence, checkpoint.digest) != (event.position.sequence, event.position.digest):
            raise ValueError("the installed state is not the certified one")
        if event.position.sequence <= core.executed and not core.diverged:
            raise ValueError("the installed state is older than the one that was there")
        core.position = event.position
        self._ordering.installed()
        self._catchup.state_installed()
        self._checkpoints.stabilise(event.certificate)
        self._checkpoints.tell()

    def _tick(self) -> None:
        core = self._core
        self._views.tick()
        self._amnesia.tick()
        self._catchup.tick()
        for effect in self._client.handle(Tick(), core.now):
            core.emit(effect)
        at = self._spread_at()
        if at is not None and core.now >= at:
            self._spread()

    # After each event.

    def _settle(self) -> None:
        """What follows from what is there now; what follows may let more follow."""
        core = self._core
        while True:
            before = (core.epoch.number, core.low, core.view, core.active)
            certificate = self._checkpoints.gathered()
            if certificate is not None:
                self._checkpoints.stabilise(certificate)
            self._amnesia.advance()
            if core.epoch.number != self._epoch:
                self._begin_epoch()
            if core.low != self._low:
                self._low = core.low
                self._ordering.collect()
                core.replace(self._memory.records())
            self._ordering.advance()
            self._views.advance()
            self._catchup.advance()
            if (core.view, core.active) != self._view:
                self._changed_view()
            if before == (core.epoch.number, core.low, core.view, core.active):
                break
        self._views.watch()

    def _begin_epoch(self) -> None:
        """View 0 of the next epoch. A voter that is none any more goes on as a learner, and the other way round."""
        core = self._core
        self._epoch, self._low = core.epoch.number, core.low
        core.view, core.active = 0, True
        self._view = (0, True)
        if core.position.next is not None and core.position.next.number <= core.epoch.number:
            core.position = _begun(core.position)
        self._ordering.begin_epoch()
        self._views.begin_epoch()
        self._catchup.begin_epoch()
        core.replace(self._memory.records())
        self._hand_over()
        ahead, self._ahead = self._ahead, []
        for sender, said in ahead:
            self._said(sender, said, decode_body(said.statement))

    def _hand_over(self) -> None:
        """What was submitted here goes the way it has to go from now on."""
        core = self._core
        if core.is_voter:
            for request in self._client.surrender():
                self._submit(request)
            return
        waiting = list(self._pending.all.values())
        for entry in waiting:
            self._pending.remove(entry.request.id)
            if entry.mine:
                self._submit(entry.request)

    def _changed_view(self) -> None:
        """A new primary hears of what is wanted here."""
        core = self._core
        self._view = (core.view, core.active)
        self._catchup.soon()
        if core.active and core.is_voter and core.primary != core.me:
            for waiting in self._pending.all.values():
                if waiting.mine and waiting.request.id not in self._pending.flying:
                    core.send(core.primary, Wish(waiting.request))

    # Requests that wait too long.

    def _spread_at(self) -> Micros | None:
        """Again and again: whoever was cut off, and gave its primary up meanwhile, is heard of once it is back."""
        first = next(iter(self._pending.all.values()), None)
        if first is None:
            return None
        again = self._spread_last + self._core.settings.request_timeout
        return again if first.spread else self._views.halfway() or again

    def _spread(self) -> None:
        """Whoever else waits for them gives the primary up, too."""
        core = self._core
        self._spread_last = core.now
        oldest = list(self._pending.all.values())[:_SPREAD]
        for waiting in oldest:
            waiting.spread = True
            core.broadcast(Wish(waiting.request))


def _begun(position: Position) -> Position:
    return Position(sequence=position.sequence, digest=position.digest, due=position.due)
