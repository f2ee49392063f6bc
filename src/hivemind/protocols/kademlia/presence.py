"""Being announced under a topic, and knowing who else is. All nodes that begin at the same moment look for each other
before anybody has announced itself: so it is looked again soon, and again, and whoever is met is asked directly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hivemind.protocols.kademlia import chain
from hivemind.protocols.kademlia.events import Found
from hivemind.protocols.kademlia.exchange import Answered, Given, ignore
from hivemind.protocols.kademlia.ids import Address, distance, node_id
from hivemind.protocols.kademlia.lookup import Replied
from hivemind.protocols.kademlia.settings import Settings
from hivemind.protocols.kademlia.signing import Notary
from hivemind.protocols.kademlia.tokens import digested
from hivemind.protocols.kademlia.wire import (
    Announce,
    Answer,
    Ask,
    Find,
    Peer,
    Record,
    Refresh,
    Unannounce,
    decode_peer,
    encode_peer,
)
from hivemind.protocols.machine import Dice, Micros


class Node(Protocol):
    """What it needs of the machine."""

    settings: Settings
    dice: Dice
    notary: Notary
    now: Micros

    def wall(self) -> int: ...

    def put(
        self, address: Address, ask: Ask, answered: Answered, failed: Given = ..., late: Given = ...
    ) -> None: ...

    def look_up(self, presence: Presence) -> None:
        """`heard` and `looked` follow."""

    def relays(self, topic: bytes) -> tuple[Address, ...]: ...

    def keep(self, topic: bytes, record: Record, peer: Peer) -> None:
        """In what this node stores itself."""

    def id_and_token(self) -> tuple[bytes, bytes]:
        """Empty: it stores nothing."""

    def genuine(self, topic: bytes, storer: bytes, record: Record) -> Peer | None: ...

    def tell(self, found: Found) -> None: ...


class Storer:
    __slots__ = ("address", "id", "round", "stamp", "token")

    def __init__(self, address: Address) -> None:
        self.address, self.id = address, node_id(address)
        self.token = b""
        self.stamp = -1
        """What it has of us."""
        self.round = -1


class Presence:
    def __init__(self, node: Node, topic: bytes, addresses: tuple[Address, ...]) -> None:
        self.topic, self.addresses = topic, addresses
        self.begun = False
        self._node = node
        self._storers: dict[bytes, Storer] = {}
        self._known: dict[str, int] = {}
        """The stamps of others."""
        self._looks: list[Micros] = []
        self._looking = False
        self._renew_at: Micros = 0
        self._round = 0
        """How often the present announcement was renewed."""
        self._peer = Peer(0, addresses)
        self._encoded = b""
        self._chain: list[bytes] = []

    # -- time ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Somebody is there."""
        self.begun = True
        self._speak_anew()
        node = self._node
        self._looks = [node.now + self._jittered(after) for after in node.settings.converge]
        self._look()

    def look_outside(self) -> None:
        """This node looks different to others: what it announces may have to be another thing."""
        if self.begun and self._peer.relays != self._relays():
            self.begin()

    def sought_by(self, node: str) -> None:
        """A hidden node has found this one; the other way round it may never come to that."""
        if self.begun and node not in self._known:
            self._looks.append(self._node.now)

    def deadline(self) -> Micros | None:
        return min((*self._looks, self._renew_at)) if self.begun else None

    def tick(self) -> None:
        now = self._node.now
        if not self.begun:
            return
        if now >= self._renew_at:
            self._renew()
        elif any(due <= now for due in self._looks):
            self._look()

    def _jittered(self, after: Micros) -> Micros:
        return after * 4 // 5 + self._node.dice.randrange(max(1, after * 2 // 5))

    def _look(self) -> None:
        """Whom nobody depends on, nobody tells of others that are hidden, too: it looks more often."""
        self._looks = [due for due in self._looks if due > self._node.now]
        if not self._looks and not self._node.id_and_token()[0]:
            self._looks = [self._node.now + self._jittered(self._node.settings.look_every)]
        if not self._looking:
            self._looking = True
            self._node.look_up(self)

    def _renew(self) -> None:
        self._round += 1
        moved = (self._peer.addresses, self._peer.relays) != (self.addresses, self._relays())
        if moved or self._round >= chain.LENGTH:
            self._speak_anew()
        else:
            self._renew_at = self._node.now + self._jittered(self._node.settings.announce_every)
        self._look()

    def _speak_anew(self) -> None:
        node = self._node
        self._chain = chain.chain(node.dice)
        self._round = 0
        stamp = max(node.wall(), self._peer.stamp + 1)
        self._peer = Peer(stamp, self.addresses, self._relays(), self._chain[-1])
        self._encoded = encode_peer(self._peer)
        self._renew_at = node.now + self._jittered(node.settings.announce_every)

    def _relays(self) -> tuple[Address, ...]:
        return self._node.relays(self.topic)

    # -- who else is there -----------------------------------------------------------------------------------

    def meet(self, address: Address) -> None:
        """Somebody new: it is asked whom it knows, and told of this node."""

        def answered(signer: str, answer: Answer) -> None:
            replied = Replied(address, signer, answer)
            self.heard(replied)
            if answer.id and self._among_closest(replied.id):
                self._store_at(replied)

        self._node.put(address, Find(self.topic, True), answered)

    def heard(self, replied: Replied) -> None:
        for record in replied.answer.records:
            signer = record.signer.hex()
            told = decode_peer(record.peer)
            if told is None or self._known.get(signer, -1) >= told.stamp:
                continue
            if peer := self._node.genuine(self.topic, replied.id, record):
                self.learned(signer, peer)

    def learned(self, signer: str, peer: Peer) -> None:
        """It is genuine."""
        if signer != self._node.notary.public and self._known.get(signer, -1) < peer.stamp:
            self._known[signer] = peer.stamp
            self._node.tell(Found(self.topic, signer, peer.addresses, peer.relays))

    def review(self, admits: Callable[[str], bool]) -> None:
        """Who is not of the hive any more is told of again, should it come back."""
        self._known = {signer: stamp for signer, stamp in self._known.items() if admits(signer)}

    def looked(self, closest: list[Replied]) -> None:
        self._looking = False
        if not self.begun:
            return
        current = {each.id for each in closest}
        self._storers = {id: storer for id, storer in self._storers.items() if id in current}
        for replied in closest:
            self._store_at(replied)
        self._store_here(closest)

    # -- storing ---------------------------------------------------------------------------------------------

    def _among_closest(self, id: bytes) -> bool:
        if id in self._storers or len(self._storers) < self._node.settings.k:
            return True
        farthest = max(distance(known, self.topic) for known in self._storers)
        return distance(id, self.topic) < farthest

    def _store_at(self, replied: Replied) -> None:
        if not replied.answer.token or not self.begun:
            return
        storer = self._storers.setdefault(replied.id, Storer(replied.address))
        storer.token = replied.answer.token
        if storer.stamp != self._peer.stamp:
            self._announce_at(storer)
        elif storer.round != self._round:
            self._refresh_at(storer)

    def _announce_at(self, storer: Storer, again: bool = True) -> None:
        stamp, made_in = self._peer.stamp, self._round
        signature = self._node.notary.announce(self.topic, digested(storer.token), storer.id, self._encoded)

        def answered(_: str, answer: Answer) -> None:
            if not answer.refusal:
                storer.stamp, storer.round = stamp, made_in
            elif again and self.begun and answer.token and answer.token != storer.token:
                storer.token = answer.token
                self._announce_at(storer, again=False)

        ask = Announce(self.topic, storer.token, self._encoded, signature)
        self._node.put(storer.address, ask, answered)

    def _refresh_at(self, storer: Storer) -> None:
        made_in = self._round

        def answered(_: str, answer: Answer) -> None:
            if not answer.refusal:
                storer.round = made_in
            elif self.begun:
                storer.token = answer.token or storer.token
                self._announce_at(storer)

        preimage = self._chain[-1 - made_in]
        self._node.put(storer.address, Refresh(self.topic, storer.token, preimage), answered)

    def _store_here(self, closest: list[Replied]) -> None:
        id, token = self._node.id_and_token()
        if not id or (len(closest) >= self._node.settings.k and not self._among_closest(id)):
            return
        self._node.keep(self.topic, self.record(id, token), self._peer)

    def record(self, storer: bytes, token: bytes) -> Record:
        """The present announcement, as that node hands it out."""
        moved = self._peer.addresses != self.addresses
        if not self.begun and (moved or self._node.now >= self._renew_at):
            self._speak_anew()
        hidden = digested(token)
        signature = self._node.notary.announce(self.topic, hidden, storer, self._encoded)
        return Record(bytes.fromhex(self._node.notary.public), hidden, self._encoded, signature)

    # -- leaving ---------------------------------------------------------------------------------------------

    def part(self, ended: Given) -> int:
        """How many are told; `ended` is called when all have heard so, or do not answer."""
        self.begun = False
        stamp = max(self._node.wall(), self._peer.stamp + 1)
        storers = [storer for storer in self._storers.values() if storer.token]
        left = len(storers)

        def one_less() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                ended()

        for storer in storers:
            self._take_back(storer, stamp, one_less)
        return len(storers)

    def _take_back(self, storer: Storer, stamp: int, over: Given, again: bool = True) -> None:
        signature = self._node.notary.unannounce(self.topic, digested(storer.token), storer.id, stamp)

        def answered(_: str, answer: Answer) -> None:
            if again and answer.refusal and answer.token and answer.token != storer.token:
                storer.token = answer.token
                self._take_back(storer, stamp, over, again=False)
            else:
                over()

        ask = Unannounce(self.topic, storer.token, stamp, signature)
        self._node.put(storer.address, ask, answered, over, ignore)
