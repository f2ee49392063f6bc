"""One member's machine: see the package for what it does."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from hivemind.errors import Invalid
from hivemind.protocols.machine import SECOND, Dice, Micros, Received, Send, Signer, Verifier
from hivemind.protocols.swim import wire
from hivemind.protocols.swim.awareness import Awareness
from hivemind.protocols.swim.events import (
    Announce,
    Change,
    Doubt,
    Effect,
    Failed,
    Input,
    Joined,
    Leave,
    Locate,
    Measured,
    Meet,
    Returned,
    Review,
    SendReliably,
    Status,
    Suspected,
)
from hivemind.protocols.swim.news import News
from hivemind.protocols.swim.prober import Probe, Prober
from hivemind.protocols.swim.roster import Member, Roster
from hivemind.protocols.swim.settings import Settings
from hivemind.protocols.swim.statements import (
    MAX_ADDRESSES,
    MAX_META,
    Accusation,
    Alive,
    Allowed,
    Answer,
    Body,
    Dead,
    Leaving,
    Notary,
    Suspect,
    read,
)
from hivemind.protocols.swim.wire import Ack, Gossip, Nack, Ping, PingRequest, Summary, Vouch
from hivemind.security.statement import Statement

_AT_ONCE = 8
"""Nodes that are compared with when it is told of them."""
_OUT_OF_TURN: Micros = SECOND
"""Between two comparisons with somebody who is unknown, or back: where many are, each of them tells of the others."""


class Swim:
    """`me`: what it says of itself at first; its incarnation must be higher than at its last start, or it learns
    that from the others. `signer.public` is its id. `allowed` says who belongs to the hive now; give it a `Review`
    when that changes. Raises `Invalid` when `me` is beyond what others take.

    Before the first event `deadline()` is 0: give it a `Tick`. All events are in `events.Input`."""

    def __init__(
        self,
        me: Alive,
        signer: Signer,
        verify: Verifier,
        dice: Dice,
        settings: Settings,
        hive: str,
        *,
        allowed: Allowed = lambda node: True,
    ) -> None:
        self.node = signer.public
        self.me = me
        self.awareness = Awareness(settings.awareness)
        self.dropped = 0
        """Messages that were none, or not for this node, or from strangers."""
        self._settings = settings
        self._allowed = allowed
        self._notary = Notary(signer, verify, hive)
        self._roster = Roster(self.node, self._notary, dice, settings, allowed)
        self._prober = Prober(self._roster, self.awareness, dice, settings)
        self._dice = dice
        self._news = News()
        self._coordinate = b""
        self._own: Statement
        """The present `Alive`."""
        self._farewell: Statement | None = None
        self._last_accuser = ""
        self._out_of_turn_at: Micros = 0
        self._expected: dict[str, None] = {}
        """Who should be there and has not been heard of."""
        self._started = False
        self._gossip_at: Micros = 0
        self._compare_at: Micros = 0
        self._reconnect_at: Micros = 0
        self._effects: list[Effect] = []
        self._say(me)

    def handle(self, event: Input, now: Micros) -> list[Effect]:
        self._wake(now)
        if isinstance(event, Received):
            self._receive(event, now)
        elif isinstance(event, Meet):
            self._meet(event.nodes)
        elif isinstance(event, Doubt):
            self._prober.check(event.node)
            self._prober.next = min(self._prober.next, now)
        elif isinstance(event, Announce):
            self._farewell = None
            self._say(msgspec.structs.replace(event.me, incarnation=self.me.incarnation + 1))
        elif isinstance(event, Locate):
            self._coordinate = event.coordinate[:64]
        elif isinstance(event, Leave):
            self._leave()
        elif isinstance(event, Review):
            self._change(self._roster.review(), now)
        self._pass_time(now)
        done, self._effects = self._effects, []
        return done

    def deadline(self) -> Micros | None:
        """None: it knows nobody."""
        if not self._started:
            return 0
        if not self._roster.members:
            return self._reconnect_at if self._expected else None
        due = min(self._prober.deadline(), self._compare_at, self._reconnect_at)
        if self._news and self._roster.living:
            due = min(due, self._gossip_at)
        judged = self._roster.deadline()
        return due if judged is None else min(due, judged)

    # What others may know.

    def status(self, node: str) -> Status | None:
        """None: not known."""
        member = self._roster.members.get(node)
        return member.status if member else None

    def alive(self, node: str) -> Alive | None:
        """What a node last said of itself, also when it is failed or left."""
        member = self._roster.members.get(node)
        return member.alive if member else None

    def unanswered(self, node: str) -> bool:
        """Whether it gave no answer to a probe from here, in its present incarnation."""
        member = self._roster.members.get(node)
        return member is not None and member.seen

    @property
    def living(self) -> tuple[str, ...]:
        """The others that are alive or only suspected."""
        return tuple(member.node for member in self._roster if member.living)

    @property
    def known(self) -> tuple[str, ...]:
        return tuple(self._roster.members)

    @property
    def refused(self) -> int:
        """Statements that are forged, or by somebody who does not belong to the hive."""
        return self._roster.forged + self._roster.foreign

    @property
    def telling(self) -> bool:
        """Whether there is something that has not been passed on often enough: wait for it after `Leave`."""
        return bool(self._news)

    def check(self) -> None:
        self._roster.check()
        assert 0 <= self.awareness.score <= self._settings.awareness
        assert len(self._prober.errands) <= Prober.MOST_ERRANDS
        assert all(probe.target != self.node for probe in self._prober.probes.values())

    # Time.

    def _wake(self, now: Micros) -> None:
        """Who is called long after it asked to be stood still and heard nobody: its own fault, so that nobody else's
        time runs out by it."""
        if not self._started:
            self._started = True
            self._prober.next = now + self._dice.randrange(self._settings.interval)
            self._compare_at = now + self._dice.randrange(self._push_pull())
            self._reconnect_at = now + self._settings.reconnect
        elif (due := self.deadline()) is not None and now - due > self._settings.interval:
            self._prober.delay(now - due)
            self._roster.delay(now - due)
            self.awareness.add(1)

    def _pass_time(self, now: Micros) -> None:
        for probe in tuple(self._prober.probes.values()):
            self._follow(probe, now)
        for sequence, errand in tuple(self._prober.errands.items()):
            if errand.nack is not None and errand.nack <= now:
                errand.nack = None
                self._send(errand.asker, Nack(errand.asked))
            if errand.end <= now:
                del self._prober.errands[sequence]
        self._change(self._roster.judge(now), now)
        if self._prober.next <= now and (begun := self._prober.turn(now)):
            self._send(begun.target, Ping(begun.sequence, begun.target))
        if self._reconnect_at <= now:
            self._reconnect(now)
        if self._compare_at <= now:
            self._compare_at = now + self._push_pull()
            for node in self._roster.sample(1, self.node):
                self._compare(node)
        if self._news and self._roster.living and self._gossip_at <= now:
            self._gossip(now)

    def _push_pull(self) -> Micros:
        """In a large hive more seldom, as each comparison is larger."""
        return self._settings.push_pull * max(1, math.ceil(math.log2((self._roster.living + 1) / 32)) + 1)

    def _meet(self, nodes: tuple[str, ...]) -> None:
        """A few tell of all others; who is not known then either is tried again and again."""
        strangers = [node for node in nodes if node != self.node and node not in self._roster.members]
        self._expected |= dict.fromkeys(strangers[: wire.MAX_MEMBERS - len(self._expected)])
        for node in self._dice.sample(list(nodes), min(_AT_ONCE, len(nodes))):
            self._compare(node)

    def _reconnect(self, now: Micros) -> None:
        self._reconnect_at = now + self._settings.reconnect
        self._expected = {
            node: None for node in self._expected if node not in self._roster.members and self._allowed(node)
        }
        if self._expected:
            self._compare(self._dice.sample(list(self._expected), 1)[0])
        self._roster.reclaim(now)
        if failed := self._roster.failed():
            node = failed[self._dice.randrange(len(failed))]
            self._send(node, Ping(self._prober.sequence(), node))

    def _gossip(self, now: Micros) -> None:
        self._gossip_at = now + self._settings.gossip_interval
        since = now - self._settings.gossip_to_failed
        for node in self._roster.sample(self._settings.fanout, self.node, since):
            self._send(node, Gossip())

    # Probing.

    def _follow(self, probe: Probe, now: Micros) -> None:
        if probe.ask is not None and probe.ask <= now:
            probe.ask = None
            probe.asked = tuple(self._roster.sample(self._settings.helpers, probe.target))
            for helper in probe.asked:
                self._send(helper, PingRequest(probe.sequence, probe.target))
            last = Ping(probe.sequence, probe.target, channel=True)
            self._effects.append(SendReliably(probe.target, self._filled(probe.target, last)))
        if probe.end <= now:
            self._prober.close(probe)
            silent = len(probe.asked) - len(probe.doubts)
            self.awareness.add(silent if probe.asked else 1)
            self._accuse(probe, now)

    def _answered(self, probe: Probe, *, prompt: bool) -> None:
        self._prober.close(probe)
        if prompt:
            self.awareness.relieve()
        else:
            self.awareness.add(-1)

    def _accuse(self, probe: Probe, now: Micros) -> None:
        member = self._roster.members.get(probe.target)
        if member is None or member.incarnation != probe.incarnation or self._farewell:
            return
        member.seen = True
        if member.living:
            self._sign(Suspect(member.node, probe.incarnation), now)

    def _sign(self, body: Suspect, now: Micros) -> None:
        """Accusations that others have made often enough are not repeated."""
        statement = self._notary.sign(body)
        if (changes := self._roster.accept(statement, body, now)) is not None:
            self._news.put(body.accused, statement)
            self._change(changes, now)

    # Messages.

    def _receive(self, event: Received, now: Micros) -> None:
        message = wire.decode(event.message)
        sender = event.sender
        if message is None or sender == self.node or not self._allowed(sender):
            self.dropped += 1
            return
        about_me = False
        if not isinstance(message, Summary):
            about_me = self._take(sender, message.statements, now)
        if sender not in self._roster.members:
            self._compare(sender, out_of_turn_at=now)
        if isinstance(message, Ping):
            self._pinged(sender, message, about_me)
        elif isinstance(message, Ack):
            self._acked(sender, message, now)
        elif isinstance(message, PingRequest):
            self._help(sender, message, now)
        elif isinstance(message, Nack):
            probe = self._prober.probes.get(message.sequence)
            if probe and sender in probe.asked:
                probe.doubts.add(sender)
        elif isinstance(message, Vouch):
            self._vouched(message)
        elif isinstance(message, Summary):
            self._summarised(sender, message)
        elif about_me:
            self._send(sender, Gossip(), [self._own])

    def _pinged(self, sender: str, ping: Ping, about_me: bool) -> None:
        if ping.subject != self.node:
            self.dropped += 1
            return
        proof = self._notary.sign(Answer(ping.asker, ping.asked)) if ping.asker else None
        ack = Ack(ping.sequence, self._coordinate, proof)
        filled = self._filled(sender, ack, [self._own] if about_me else [])
        self._effects.append(SendReliably(sender, filled) if ping.channel else Send(sender, filled))

    def _acked(self, sender: str, ack: Ack, now: Micros) -> None:
        probe = self._prober.probes.get(ack.sequence)
        errand = self._prober.errands.get(ack.sequence)
        if probe and probe.target == sender:
            if probe.ask is not None:
                self._effects.append(Measured(sender, now - probe.sent, ack.coordinate))
            self._answered(probe, prompt=now - probe.sent <= self._settings.timeout)
        elif errand and errand.target == sender and ack.proof:
            del self._prober.errands[ack.sequence]
            self._send(errand.asker, Vouch(errand.asked, ack.proof))

    def _help(self, sender: str, request: PingRequest, now: Micros) -> None:
        member = self._roster.members.get(request.subject)
        if member is None or request.subject == sender:
            return
        sequence = self._prober.run_errand(sender, request.sequence, request.subject, now)
        if sequence is not None:
            self._send(request.subject, Ping(sequence, request.subject, False, sender, request.sequence))

    def _vouched(self, vouch: Vouch) -> None:
        probe = self._prober.probes.get(vouch.sequence)
        if (
            probe
            and vouch.proof.signer == probe.target
            and read(vouch.proof) == Answer(self.node, probe.sequence)
            and self._notary.genuine(vouch.proof)
        ):
            self._answered(probe, prompt=False)

    # Statements.

    def _take(self, sender: str, statements: Iterable[Statement], now: Micros) -> bool:
        """Whether something in them is about this node, so that the sender had better hear what is true now. Nobody
        honest passes on what is forged: after the first such statement the rest costs no more time."""
        about_me, forged = False, self._roster.forged
        for statement in statements:
            if self._roster.forged > forged:
                break
            body = read(statement)
            if body is None or isinstance(body, Answer):
                self.dropped += 1
                continue
            subject = body.accused if isinstance(body, Accusation) else statement.signer
            if subject == self.node:
                about_me = self._told_of_me(statement, body) or about_me
            elif (changes := self._roster.accept(statement, body, now)) is not None:
                self._news.put(subject, statement)
                self._change(changes, now)
            elif subject == sender and isinstance(body, Alive):
                self._remind(self._roster.last(sender), body)
        return about_me

    def _remind(self, member: Member | None, said: Alive) -> None:
        """Who has forgotten its own incarnation is shown the last one that it signed, to go on from there. Who left in
        the one that it names knows that, and would only answer."""
        if member is None:
            return
        other = said.incarnation == member.alive.incarnation and said != member.alive
        if said.incarnation < member.incarnation or other:
            self._send(member.node, Gossip(), member.evidence())

    def _told_of_me(self, statement: Statement, body: Body) -> bool:
        mine = self.me.incarnation
        if isinstance(body, Accusation):
            refutable = body.incarnation == mine and not self._farewell and self._allowed(statement.signer)
            if refutable and self._notary.genuine(statement):
                self._refute(statement.signer)
            return body.incarnation <= mine
        if isinstance(body, Answer):
            return False
        left = isinstance(body, Leaving) and bool(self._farewell)
        news = body.incarnation > mine or (body.incarnation == mine and body != self.me and not left)
        if news and self._notary.genuine(statement):
            self._raise_above(body.incarnation)
        return True

    def _refute(self, accuser: str) -> None:
        """An accusation says something about the own health, too; but if it is always the same one that accuses,
        it rather says something about that one."""
        if accuser != self._last_accuser:
            self._last_accuser = accuser
            self.awareness.add(1)
        self._raise_above(self.me.incarnation)

    def _raise_above(self, incarnation: int) -> None:
        self._say(msgspec.structs.replace(self.me, incarnation=incarnation + 1))
        if self._farewell:
            self._leave()

    def _say(self, me: Alive) -> None:
        statement = self._notary.sign(me)
        if len(statement.body) > wire.MAX_BODY or read(statement) != me:
            raise Invalid(
                "a member says too much of itself",
                hint=f"at most {MAX_ADDRESSES} addresses and {MAX_META} bytes besides",
            )
        self.me, self._own = me, statement
        self._news.put(self.node, statement)

    def _leave(self) -> None:
        self._farewell = self._notary.sign(Leaving(self.me.incarnation))
        self._news.put(self.node, self._farewell)

    def _change(self, changes: Iterable[Change], now: Micros) -> None:
        for change in changes:
            self._effects.append(change)
            if isinstance(change, Joined):
                self._prober.joined(change.node)
                self._compare_soon(now)
            elif isinstance(change, Suspected) and change.by != self.node:
                self._prober.consider(change.node)
            elif isinstance(change, Failed) and self.node in change.by:
                body = Dead(change.node, change.incarnation)
                statement = self._notary.sign(body)
                self._roster.conclude(change.node, statement, body)
                self._news.put(change.node, statement)
            elif isinstance(change, Returned) and change.was > Status.SUSPECT:
                self._prober.joined(change.node)
                self._compare(change.node, out_of_turn_at=now)

    # Comparing everything.

    def _compare_soon(self, now: Micros) -> None:
        """Where one joins others may be joining, whose news has been told to those few that they knew: some nodes
        compare before their time."""
        if self._dice.random() * max(1, self._roster.living) < self._settings.checkers:
            self._compare_at = min(self._compare_at, now + self._dice.randrange(self._settings.reconnect))

    def _compare(self, node: str, *, out_of_turn_at: Micros | None = None) -> None:
        if node == self.node or not self._allowed(node):
            return
        if out_of_turn_at is not None:
            if out_of_turn_at < self._out_of_turn_at:
                return
            self._out_of_turn_at = out_of_turn_at + _OUT_OF_TURN
        self._effects.append(SendReliably(node, wire.encode(self._summary(final=False))))

    def _summary(self, *, final: bool) -> Summary:
        status = Status.LEFT if self._farewell else Status.ALIVE
        known = [wire.Known(self.node, self.me.incarnation, status)]
        known += [wire.Known(member.node, member.incarnation, member.status) for member in self._roster]
        return Summary(tuple(known[: wire.MAX_MEMBERS]), final)

    def _summarised(self, sender: str, summary: Summary) -> None:
        theirs = {each.node: (each.incarnation, each.status) for each in summary.known}
        unknown = (-1, Status.ALIVE)
        newer: list[Statement] = []
        if theirs.get(self.node, unknown) < (self.me.incarnation, Status.LEFT if self._farewell else 0):
            newer += [self._own, self._farewell] if self._farewell else [self._own]
        for member in self._roster:
            if theirs.get(member.node, unknown) < (member.incarnation, member.status):
                newer += member.evidence()
        # Who is there comes first: how many accusers it takes depends on how many there are.
        newer.sort(key=lambda statement: not isinstance(read(statement), Alive))
        for batch in wire.batches(newer):
            self._effects.append(SendReliably(sender, batch))
        if not summary.final:
            self._effects.append(SendReliably(sender, wire.encode(self._summary(final=True))))

    # Sending.

    def _send(self, to: str, message: wire.Small, first: Iterable[Statement] = ()) -> None:
        self._effects.append(Send(to, self._filled(to, message, first)))

    def _filled(self, to: str, message: wire.Small, first: Iterable[Statement] = ()) -> bytes:
        """With news. What is held against the receiver itself goes first, so that it can refute it at once (the
        buddy system of Lifeguard, section IV-C)."""
        member = self._roster.members.get(to)
        against = member.evidence() if member and member.status != Status.ALIVE else []
        first = list(dict.fromkeys([*first, *against]))
        limit = self._settings.retransmit * math.ceil(math.log10(self._roster.living + 2))
        return wire.fill(message, self._settings.mtu, lambda room: self._news.take(to, room, limit, first))
