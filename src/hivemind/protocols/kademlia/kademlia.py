"""The machine of one node: it answers what others ask, keeps its table, and has under way what its host wants.

Whoever answers at its address, names the id that belongs there and is of the hive gets into the table. Whoever else
holds the hive's secret, as a node that is about to join, is told of closer nodes and of who is announced, so that it
finds a door to knock at; it stores nothing, and is shown no values.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

from hivemind.protocols.kademlia import wire
from hivemind.protocols.kademlia.events import (
    Effect,
    Ended,
    Found,
    Get,
    Got,
    Heard,
    Input,
    Join,
    Look,
    Meet,
    Moved,
    Outside,
    Part,
    Put,
    PutMutable,
    Reach,
    Reached,
    Review,
    Translation,
    Transmit,
)
from hivemind.protocols.kademlia.exchange import Answered, Exchange, Given, ignore
from hivemind.protocols.kademlia.ids import SIZE, Address, node_id, usable
from hivemind.protocols.kademlia.lookup import Lookup, Replied
from hivemind.protocols.kademlia.meter import Meter
from hivemind.protocols.kademlia.outside import OutsideView
from hivemind.protocols.kademlia.presence import Presence
from hivemind.protocols.kademlia.punching import Punching
from hivemind.protocols.kademlia.serving import STRANGER, Server, Storing
from hivemind.protocols.kademlia.settings import Settings
from hivemind.protocols.kademlia.signing import Notary, immutable_key, mutable_key
from hivemind.protocols.kademlia.table import Contact, Table
from hivemind.protocols.kademlia.wire import (
    MAX_ADDRESSES,
    MAX_RELAYS,
    MAX_VALUE,
    Answer,
    Ask,
    Bring,
    Down,
    Find,
    FindValue,
    Knock,
    Peer,
    Ping,
    Question,
    Record,
    Stored,
)
from hivemind.protocols.machine import SECOND, Dice, Micros, Signer, Verifier

_MET = 512
_SLEPT: Micros = 30 * SECOND
"""By so much the wall clock runs ahead of the other one when a machine has slept."""
_CHECK_AGAIN: Micros = 5 * SECOND
_HINTS = 10
"""Words that somebody is down, of one node in a second."""
_GREETINGS = 50
"""Nodes that are greeted in a second."""


class Kademlia:
    """`own`: where this node listens, as it tells others. `admits`: who belongs to the hive. `wall`: microseconds
    since 1970 at a time of the machine's. `dice` must not be guessable: numbers and tokens come from it."""

    def __init__(
        self,
        signer: Signer,
        verify: Verifier,
        dice: Dice,
        *,
        hive: str,
        own: Address,
        admits: Callable[[str], bool],
        wall: Callable[[Micros], int],
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.dice = dice
        self.notary = Notary(signer, verify, hive)
        self.admits = admits
        self.now: Micros = 0
        self.dropped: Counter[str] = Counter()
        """Datagrams that were not taken, by reason."""
        self.table = Table(self._random_id(), self.settings.k)
        self.server = Server(self.settings, dice, self.notary, self.table)
        self.outside = OutsideView(own, self.settings.settled_after)
        self._own, self._wall = own, wall
        self._exchange = Exchange(self.settings, dice, self._question)
        self._punching = Punching(self)
        self._presences: dict[bytes, Presence] = {}
        self._met: dict[Address, None] = {}
        self._asked_lately: OrderedDict[Address, None] = OrderedDict()
        self._greeting: set[Address] = set()
        self._meter = Meter(self.settings.requests)
        self._strangers = Meter(self.settings.stranger_requests)
        self._all = Meter(self.settings.all_requests)
        self._hints, self._greetings = Meter(_HINTS), Meter(_GREETINGS)
        self._due: dict[str, Micros] = {}
        self._pause: Micros = self.settings.bootstrap_every
        self._ahead: int | None = None
        """Of the wall clock, of the machine's."""
        self._effects: list[Effect] = []

    # -- the contract of machines ----------------------------------------------------------------------------

    def handle(self, event: Input, now: Micros) -> list[Effect]:
        self.now = max(now, self.now)
        self._wake()
        self._take(event)
        self._exchange.tick(self.now)
        self._keep_house()
        effects, self._effects = self._effects, []
        return effects

    def deadline(self) -> Micros | None:
        dues = [*self._due.values(), self._exchange.deadline()]
        dues += [presence.deadline() for presence in self._presences.values()]
        return min((due for due in dues if due is not None), default=None)

    def check(self) -> None:
        self.table.check()
        self.server.records.check()
        self.server.values.check()
        self._exchange.check()
        assert len(self._met) <= _MET
        assert self.table.get(self._own) is None or self.id != node_id(self._own), "it is in its own table"

    # -- what it knows ---------------------------------------------------------------------------------------

    @property
    def id(self) -> bytes:
        """As others are told it; empty as long as nothing should depend on this node."""
        address = self.outside.address
        return node_id(address) if address and self.outside.persistent(self.now) else b""

    def contacts(self) -> list[Address]:
        """Of its table, those heard last first: to begin with another time."""
        nodes = sorted(self.table, key=lambda each: (-each.heard, each.id))
        return [node.address for node in nodes]

    def wall(self) -> int:
        return self._wall(self.now)

    def id_and_token(self) -> tuple[bytes, bytes]:
        id = self.id
        return id, self.server.tokens.token(self.outside.address[0]) if id and self.outside.address else b""

    # -- events ----------------------------------------------------------------------------------------------

    def _take(self, event: Input) -> None:
        if isinstance(event, Heard):
            self._hear(event)
        elif isinstance(event, Meet):
            self._meet(event.addresses)
        elif isinstance(event, Join):
            self._join(event)
        elif isinstance(event, Part):
            self._part(event)
        elif isinstance(event, Look):
            self._look(event)
        elif isinstance(event, Put | PutMutable):
            self._put(event)
        elif isinstance(event, Get):
            self._get(event)
        elif isinstance(event, Reach):
            self._punching.reach(event)
        elif isinstance(event, Moved):
            self._moved()
        elif isinstance(event, Review):
            self._review()

    def _wake(self) -> None:
        ahead = self.wall() - self.now
        if self._ahead is not None and ahead - self._ahead > _SLEPT:
            self._moved()
        self._ahead = ahead

    def _meet(self, addresses: tuple[Address, ...]) -> None:
        for address in addresses:
            self._remember(address)
        self._pause = self.settings.bootstrap_every
        self._due["bootstrap"] = self.now

    def _remember(self, address: Address) -> None:
        if usable(address) and not self.is_self(address):
            self._met.pop(address, None)
            self._met[address] = None
            if len(self._met) > _MET:
                del self._met[next(iter(self._met))]

    def _join(self, event: Join) -> None:
        addresses = tuple(event.addresses[:MAX_ADDRESSES])
        known = self._presences.get(event.topic)
        if known is None:
            known = self._presences[event.topic] = Presence(self, event.topic, addresses)
        elif known.addresses == addresses:
            return
        known.addresses = addresses
        if len(self.table):
            known.begin()

    def _part(self, event: Part) -> None:
        presence = self._presences.pop(event.topic, None)
        self.server.records.forget(event.topic, self.notary.public)
        told = presence.part(lambda: self.ended(event.number, told)) if presence else 0
        if not told:
            self.ended(event.number, 0)

    def _moved(self) -> None:
        """Who was known is asked again, and hears from where."""
        self.outside.forget()
        for contact in self.table.closest(self.table.own, self.settings.k):
            self._check(contact)
        self._meet(tuple(self._met))
        for presence in self._presences.values():
            if len(self.table):
                presence.begin()

    def _review(self) -> None:
        for contact in self.table:
            if not self.admits(contact.signer):
                self.table.remove(contact)
        for signer in self.server.records.signers():
            if not self.admits(signer):
                self.server.records.forget_signer(signer)
        for presence in self._presences.values():
            presence.review(self.admits)

    # -- lookups ---------------------------------------------------------------------------------------------

    def look_up(self, presence: Presence) -> None:
        self._lookup(Find(presence.topic, True), presence.topic, presence.heard, presence.looked)

    def _lookup(
        self,
        ask: Ask,
        target: bytes,
        heard: Callable[[Replied], None],
        done: Callable[[list[Replied]], None],
    ) -> None:
        contacts = self.table.closest(target, self.settings.k)
        addresses = [contact.address for contact in contacts] or list(self._met)[-self.settings.k :]
        lookup = Lookup(
            self, ask, target, k=self.settings.k, alpha=self.settings.alpha, heard=heard, done=done
        )
        lookup.begin(addresses)

    def _look(self, event: Look) -> None:
        known: dict[str, int] = {}
        answered = 0

        def take(records: tuple[Record, ...], storer: bytes) -> None:
            for record in records:
                peer = self.genuine(event.topic, storer, record)
                if peer and known.get(record.signer.hex(), -1) < peer.stamp:
                    known[record.signer.hex()] = peer.stamp
                    self.tell(Found(event.topic, record.signer.hex(), peer.addresses, peer.relays))

        def heard(replied: Replied) -> None:
            nonlocal answered
            answered += 1
            take(replied.answer.records, replied.id)

        ask = Find(event.topic, True)
        if self.id:
            take(tuple(self.server.found(ask, self.now)), self.id)
        self._lookup(ask, event.topic, heard, lambda _: self.ended(event.number, answered))

    def _get(self, event: Get) -> None:
        best: list[Stored] = []

        def take(value: Stored | None) -> None:
            newer = value and (not best or value.sequence > best[0].sequence)
            if value and newer and self.server.sound(event.key, value):
                best[:] = [value]

        def done(_: list[Replied]) -> None:
            stored = best[0] if best else Stored(b"")
            value = stored.value if best else None
            self._effects.append(Got(event.number, value, stored.sequence, stored.signer.hex()))

        ask = FindValue(event.key)
        take(self.server.value(ask, self.now))
        self._lookup(ask, event.key, lambda replied: take(replied.answer.value), done)

    def _put(self, event: Put | PutMutable) -> None:
        if len(event.value) > MAX_VALUE:
            self.ended(event.number, 0, "too large")
            return
        salt = event.salt if isinstance(event, PutMutable) else b""
        key = immutable_key(event.value)
        signature = b""
        if isinstance(event, PutMutable):
            key = mutable_key(self.notary.public, salt)
            signature = self.notary.sign_value(salt, event.sequence, event.value)

        def ask(token: bytes) -> Storing:
            if isinstance(event, Put):
                return wire.Put(token, event.value)
            return wire.PutMutable(token, salt, event.sequence, event.value, signature)

        def store(closest: list[Replied]) -> None:
            self._store_at([each for each in closest if each.answer.token], ask, event.number)

        self._lookup(Find(key), key, lambda _: None, store)

    def _store_at(self, storers: list[Replied], ask: Callable[[bytes], Storing], number: int) -> None:
        """What one of them refuses is told, because each of them would."""
        taken, left, refusals = 0, len(storers), [""]

        def over(answer: Answer | None) -> None:
            nonlocal taken, left
            left -= 1
            if answer is not None:
                taken += not answer.refusal
                refusals[0] = answer.refusal or refusals[0]
            if not left:
                self.ended(number, taken, refusals[0])

        for each in storers:
            self.put(
                each.address,
                ask(each.answer.token),
                lambda _, answer: over(answer),
                lambda: over(None),
            )
        if not storers:
            self.ended(number, 0, "nobody is there")

    # -- questions to others ---------------------------------------------------------------------------------

    def put(
        self,
        address: Address,
        ask: Ask,
        answered: Answered,
        failed: Given = ignore,
        late: Given = ignore,
        tries: int | None = None,
    ) -> None:
        """Has it asked. Whatever it is about, the answer shows that somebody is there."""
        begun = self.now

        def came(signer: str, answer: Answer) -> None:
            self._answered(address, signer, answer, ask)
            answered(signer, answer)

        def never() -> None:
            contact = self.table.get(address)
            if contact and contact.heard <= begun:
                self._lose(contact)
            failed()

        self._exchange.ask(address, ask, self.now, came, never, late, tries)

    def _question(self, to: Address, number: int, ask: Ask) -> None:
        self._asked_lately.pop(to, None)
        self._asked_lately[to] = None
        if len(self._asked_lately) > _MET:
            self._asked_lately.popitem(last=False)
        self._effects.append(Transmit(to, wire.encode(Question(number, to, self.id, ask))))

    def _answered(self, address: Address, signer: str, answer: Answer, ask: Ask) -> None:
        if not self.admits(signer):
            return
        self._said(signer, answer.to, unasked=False)
        if not answer.id:
            return
        if answer.id != node_id(address):
            self.dropped["wrong id"] += 1
            return
        new, first = self.table.get(address) is None, not len(self.table)
        if oldest := self.table.heard(address, signer, self.now):
            self._check(oldest)
        if first:
            self._begin()
        elif new and not (isinstance(ask, Find) and ask.peers):
            for presence in self._presences.values():
                if presence.begun:
                    presence.meet(address)

    def _begin(self) -> None:
        """The first one answers."""
        self._refresh()
        for presence in self._presences.values():
            presence.begin()

    def _lose(self, contact: Contact) -> None:
        self.table.remove(contact)
        self._remember(contact.address)
        if not len(self.table):
            self._pause = self.settings.bootstrap_every
        self._due.setdefault("bootstrap", self.now + self._pause)

    def _check(self, contact: Contact) -> None:
        contact.checked = self.now
        self.put(contact.address, Ping(), lambda *_: None, lambda: self.table.remove(contact), tries=2)

    def is_down(self, address: Address, said: Address | None) -> None:
        """Whoever named it should know."""
        if said and self._hints.take("to others", self.now):
            number = self.dice.randrange(2**62)
            self._effects.append(Transmit(said, wire.encode(Question(number, said, self.id, Down(address)))))

    def _greet(self, address: Address) -> None:
        """It carries for others: whom does it know?"""
        if address in self._greeting or not self._greetings.take("", self.now):
            return
        self._greeting.add(address)

        def over(*_: object) -> None:
            self._greeting.discard(address)

        self.put(address, Ping(), over, over)

    # -- what others say -------------------------------------------------------------------------------------

    def _hear(self, heard: Heard) -> None:
        message = wire.decode(heard.message)
        if message is None:
            self.dropped["malformed"] += 1
        elif isinstance(message, Answer):
            if not self._exchange.answered(heard.source, heard.sender, message, self.now):
                self.dropped["not asked for"] += 1
        else:
            self._serve(heard.source, heard.sender, message)

    def _serve(self, source: Address, sender: str, question: Question) -> None:
        admitted = self.admits(sender)
        meter = self._meter if admitted else self._strangers
        if not usable(source) or not meter.take(sender, self.now) or not self._all.take("", self.now):
            self.dropped["too many"] += 1
            return
        if question.id and question.id != node_id(source):
            self.dropped["wrong id"] += 1
        if admitted:
            self._said(sender, question.to, unasked=source not in self._asked_lately)
            self._punching.heard(sender, source)
            if question.id == node_id(source) and self.table.get(source) is None:
                self._greet(source)
        if isinstance(question.ask, Down):
            self._hear_of(question.ask.address, sender)
            return
        self._reply(source, sender, question, admitted)

    def _reply(self, source: Address, sender: str, question: Question, admitted: bool) -> None:
        ask, refusal, value = question.ask, "", None
        closer: list[Address] = []
        records: list[Record] = []
        if isinstance(ask, Ping):
            pass
        elif isinstance(ask, Find) or (admitted and isinstance(ask, FindValue)):
            closer, records = self.server.closer(ask, source), self.server.found(ask, self.now)
            records += [] if admitted else self._lonely(ask, question.to)
            value = self.server.value(ask, self.now)
        elif not admitted:
            refusal = STRANGER
        elif isinstance(ask, Bring):
            refusal, place = self._punching.bring(ask, sender, source)
            closer = [place] if place else []
        elif isinstance(ask, Knock):
            refusal = self._punching.knock(ask)
            if not refusal:
                for presence in self._presences.values():
                    presence.sought_by(ask.node.hex())
        elif not isinstance(ask, Down | FindValue):
            refusal, peer = self.server.store(ask, source, sender, self.id, self.wall(), self.now)
            if peer and isinstance(ask, wire.Announce) and ask.target in self._presences:
                self._presences[ask.target].learned(sender, peer)
        token = self.server.tokens.token(source[0]) if self.id and admitted else b""
        answer = Answer(question.number, source, self.id, refusal, token, value=value)
        self._effects.append(Transmit(source, wire.fitted(answer, closer, records)))

    def _lonely(self, ask: Ask, asked_at: Address) -> list[Record]:
        """Who is alone in its hive is announced nowhere, and has no id, because nobody of the hive has told it yet how
        it looks from outside. Who wants in finds it all the same where it says that it listens."""
        if self.id or asked_at != self._own or not isinstance(ask, Find) or not ask.peers:
            return []
        presence = self._presences.get(ask.target)
        return [presence.record(node_id(asked_at), self.server.tokens.token(asked_at[0]))] if presence else []

    def _hear_of(self, address: Address, sender: str) -> None:
        """Somebody does not reach a node that this one named. It sees for itself, and not too often."""
        contact = self.table.get(address)
        if contact and self.now - contact.checked > _CHECK_AGAIN and self._hints.take(sender, self.now):
            self._check(contact)

    def _said(self, by: str, address: Address, *, unasked: bool) -> None:
        if usable(address) and self.outside.said(by, address, self.now, unasked=unasked):
            self._settle()
            self._effects.append(Outside(self.outside.translation, self.outside.address))
            for presence in self._presences.values():
                presence.look_outside()

    def _settle(self) -> None:
        """Who got an id gets to know its neighbourhood, as soon as others could have told of theirs."""
        if (own := self.id) and own != self.table.own:
            self.table.move(own)
            self._due["refresh"] = min(self._due.get("refresh", self.now + SECOND), self.now + SECOND)

    # -- keeping house ---------------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        self.server.tokens.rotate(self.now)
        for name, every, act in (
            ("ping", self.settings.ping_every, self._ping_some),
            ("refresh", self.settings.refresh_every, self._refresh),
            ("open", self.settings.keep_open, self._keep_open),
        ):
            due = self._due.setdefault(name, self.now + every)
            if self.now >= due:
                self._due[name] = self.now + every
                act()
        if self.now >= self._due.get("bootstrap", self.now + 1):
            self._bootstrap()
        for presence in tuple(self._presences.values()):
            presence.tick()

    def _bootstrap(self) -> None:
        """As long as few are known: whoever was ever named, and is not there, is asked again, a few at a time and ever
        more seldom. Who knows one other only, knows what that one wants it to know."""
        del self._due["bootstrap"]
        missing = [address for address in self._met if self.table.get(address) is None]
        if len(self.table) >= self.settings.k or not missing:
            return
        self._due["bootstrap"] = self.now + self._pause * 4 // 5 + self.dice.randrange(self._pause * 2 // 5)
        self._pause = min(self._pause * 3 // 2, self.settings.bootstrap_longest)
        for address in missing[: self.settings.k]:
            self._met[address] = self._met.pop(address)
            self.put(address, Find(self.table.own), self._guided, tries=1)

    def _guided(self, signer: str, answer: Answer) -> None:
        """Who answers may be of the hive without this node's knowing so yet; then those that it names may help."""
        if not self.admits(signer):
            for address in answer.closer:
                self._remember(address)

    def _ping_some(self) -> None:
        self._settle()
        for contact in self.table.stalest(self.settings.pings):
            self._check(contact)

    def _refresh(self) -> None:
        """Its own neighbourhood, and some place or other."""
        self.server.expire(self.now)
        for target in (self.table.own, self._random_id()):
            if len(self.table):
                self._lookup(Find(target), target, lambda _: None, lambda _: None)

    def _keep_open(self) -> None:
        """What translates this node's address keeps that only as long as something passes."""
        if self._translated:
            for address in self._carriers():
                self.put(address, Ping(), lambda *_: None)

    @property
    def _translated(self) -> bool:
        return self.outside.translation in (Translation.CONSISTENT, Translation.RANDOM)

    def relays(self, topic: bytes) -> tuple[Address, ...]:
        """Who can bring this node, when it cannot be reached itself."""
        return tuple(self._carriers()) if self._translated else ()

    def _carriers(self) -> list[Address]:
        return [contact.address for contact in self.table.closest(self.table.own, MAX_RELAYS)]

    # -- what its parts ask of it ----------------------------------------------------------------------------

    def is_self(self, address: Address) -> bool:
        return address in (self._own, self.outside.address)

    def genuine(self, topic: bytes, storer: bytes, record: Record) -> Peer | None:
        """Of a node of the hive, and not of this one."""
        signer = record.signer.hex()
        if signer == self.notary.public or not self.admits(signer):
            return None
        return self.server.genuine(topic, storer, record, self.wall())

    def keep(self, topic: bytes, record: Record, peer: Peer) -> None:
        self.server.records.put(topic, self.notary.public, record, peer, self.now)

    def tell(self, found: Found) -> None:
        self._effects.append(found)

    def reached(self, reached: Reached) -> None:
        self._effects.append(reached)

    def ended(self, number: int, nodes: int, refusal: str = "") -> None:
        if number:
            self._effects.append(Ended(number, nodes, refusal))

    def _random_id(self) -> bytes:
        return self.dice.randrange(2 ** (8 * SIZE)).to_bytes(SIZE, "big")
