"""What a node does for others: it names closer nodes, keeps announcements and values, and gives the tokens without
which it keeps nothing. Cheap checks come before signatures."""

from __future__ import annotations

from collections import Counter

from hivemind.protocols.kademlia.ids import Address, usable
from hivemind.protocols.kademlia.records import Records
from hivemind.protocols.kademlia.settings import Settings
from hivemind.protocols.kademlia.signing import Notary, immutable_key, mutable_key
from hivemind.protocols.kademlia.table import Table
from hivemind.protocols.kademlia.tokens import Tokens, digested
from hivemind.protocols.kademlia.values import Values
from hivemind.protocols.kademlia.wire import (
    MAX_CLOSER,
    MAX_RECORDS,
    Announce,
    Ask,
    Find,
    FindValue,
    Peer,
    Put,
    PutMutable,
    Record,
    Refresh,
    Stored,
    Unannounce,
    decode_peer,
)
from hivemind.protocols.machine import Dice, Micros

STRANGER = "stranger"
EPHEMERAL = "ephemeral"
TOKEN = "token"
FORGED = "forged"
CLOCK = "clock"
MALFORMED = "malformed"
Storing = Announce | Unannounce | Refresh | Put | PutMutable


class Server:
    def __init__(self, settings: Settings, dice: Dice, notary: Notary, table: Table) -> None:
        self._settings, self._notary, self._table = settings, notary, table
        self.tokens = Tokens(dice, settings.token_every)
        self.records = Records(settings, dice)
        self.values = Values(settings)
        self.refused: Counter[str] = Counter()

    def closer(self, ask: Ask, source: Address) -> list[Address]:
        if not isinstance(ask, Find | FindValue):
            return []
        nodes = self._table.closest(ask.target, MAX_CLOSER + 1)
        return [node.address for node in nodes if node.address != source][:MAX_CLOSER]

    def found(self, ask: Ask, now: Micros) -> list[Record]:
        return self.records.some(ask.target, MAX_RECORDS, now) if isinstance(ask, Find) and ask.peers else []

    def value(self, ask: Ask, now: Micros) -> Stored | None:
        return self.values.get(ask.target, now) if isinstance(ask, FindValue) else None

    def store(
        self, ask: Storing, source: Address, sender: str, id: bytes, wall: int, now: Micros
    ) -> tuple[str, Peer | None]:
        """Why not, or nothing; and what was announced anew. `id`: this node's, empty when it carries nothing."""
        refusal, peer = self._store(ask, source, sender, id, wall, now)
        if refusal:
            self.refused[refusal] += 1
        return refusal, peer

    def _store(
        self, ask: Storing, source: Address, sender: str, id: bytes, wall: int, now: Micros
    ) -> tuple[str, Peer | None]:
        if not id:
            return EPHEMERAL, None
        if not self.tokens.valid(source[0], ask.token):
            return TOKEN, None
        if isinstance(ask, Announce):
            return self._announce(ask, sender, id, wall, now)
        if isinstance(ask, Unannounce):
            return self._unannounce(ask, sender, id, wall, now), None
        if isinstance(ask, Refresh):
            return self.records.refresh(ask.target, sender, ask.preimage, now), None
        return self._put(ask, sender, now), None

    def _announce(
        self, ask: Announce, sender: str, id: bytes, wall: int, now: Micros
    ) -> tuple[str, Peer | None]:
        peer = decode_peer(ask.peer)
        if peer is None:
            return MALFORMED, None
        if not self.timely(peer.stamp, wall):
            return CLOCK, None
        hidden = digested(ask.token)
        if not self._notary.announced(sender, ask.target, hidden, id, ask.peer, ask.signature):
            return FORGED, None
        record = Record(bytes.fromhex(sender), hidden, ask.peer, ask.signature)
        refusal = self.records.put(ask.target, sender, record, peer, now)
        return refusal, None if refusal else peer

    def _unannounce(self, ask: Unannounce, sender: str, id: bytes, wall: int, now: Micros) -> str:
        if not self.timely(ask.stamp, wall):
            return CLOCK
        token = digested(ask.token)
        if not self._notary.unannounced(sender, ask.target, token, id, ask.stamp, ask.signature):
            return FORGED
        return self.records.take_back(ask.target, sender, ask.stamp, now)

    def _put(self, ask: Put | PutMutable, sender: str, now: Micros) -> str:
        if isinstance(ask, Put):
            return self.values.put(immutable_key(ask.value), Stored(ask.value), sender, now)
        if not self._notary.signed_value(sender, ask.salt, ask.sequence, ask.value, ask.signature):
            return FORGED
        stored = Stored(ask.value, ask.sequence, bytes.fromhex(sender), ask.salt, ask.signature)
        return self.values.put(mutable_key(sender, ask.salt), stored, sender, now)

    def timely(self, stamp: int, wall: int) -> bool:
        return wall - self._settings.oldest <= stamp <= wall + self._settings.drift

    def genuine(self, topic: bytes, storer: bytes, record: Record, wall: int) -> Peer | None:
        """What it says, if its signer made it for that topic and for the node that hands it out."""
        peer = decode_peer(record.peer)
        if peer is None or not self.timely(peer.stamp, wall) or not all(map(usable, peer.addresses)):
            return None
        signer = record.signer.hex()
        valid = self._notary.announced(signer, topic, record.token, storer, record.peer, record.signature)
        return peer if valid else None

    def sound(self, key: bytes, stored: Stored) -> bool:
        """A value is what belongs under that key."""
        if not stored.signer:
            return immutable_key(stored.value) == key
        signer = stored.signer.hex()
        return mutable_key(signer, stored.salt) == key and self._notary.signed_value(
            signer, stored.salt, stored.sequence, stored.value, stored.signature
        )

    def expire(self, now: Micros) -> None:
        self.records.expire(now)
        self.values.expire(now)
