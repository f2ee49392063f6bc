"""What is stored here for others: announcements under topics. Each ends by itself; of one node there are only so many,
and all together are bounded: who floods, replaces its own."""

from __future__ import annotations

from collections import OrderedDict

from hivemind.protocols.kademlia import chain
from hivemind.protocols.kademlia.settings import Settings
from hivemind.protocols.kademlia.wire import Peer, Record
from hivemind.protocols.machine import Dice, Micros

Place = tuple[bytes, str]


class Kept:
    __slots__ = ("end", "record", "stamp", "until")

    def __init__(self, record: Record | None, stamp: int, end: bytes, until: Micros) -> None:
        self.record = record
        """None: it was taken back, and what is older does not come back."""
        self.stamp, self.end, self.until = stamp, end, until


class Records:
    def __init__(self, settings: Settings, dice: Dice) -> None:
        self._settings, self._dice = settings, dice
        self._kept: OrderedDict[Place, Kept] = OrderedDict()
        """Least recently renewed first."""
        self._topics: dict[bytes, dict[str, None]] = {}
        self._signers: dict[str, dict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, topic: bytes, signer: str, record: Record, peer: Peer, now: Micros) -> str:
        """Why not, or nothing. Its signature was verified."""
        if (known := self._at(topic, signer, now)) and known.stamp >= peer.stamp:
            return "" if known.stamp == peer.stamp and known.record else "old"
        self._store(topic, signer, Kept(record, peer.stamp, peer.chain, now + self._settings.record_time))
        return ""

    def take_back(self, topic: bytes, signer: str, stamp: int, now: Micros) -> str:
        if (known := self._at(topic, signer, now)) and known.stamp > stamp:
            return "old"
        self._store(topic, signer, Kept(None, stamp, b"", now + self._settings.record_time))
        return ""

    def refresh(self, topic: bytes, signer: str, preimage: bytes, now: Micros) -> str:
        known = self._at(topic, signer, now)
        if known is None or known.record is None:
            return "unknown"
        if not chain.leads_to(preimage, known.end):
            return "no preimage"
        known.end, known.until = preimage, now + self._settings.record_time
        self._kept.move_to_end((topic, signer))
        return ""

    def some(self, topic: bytes, count: int, now: Micros) -> list[Record]:
        """Of many always others, so that who asks several nodes, or again, gets to know all."""
        kept = (self._at(topic, signer, now) for signer in tuple(self._topics.get(topic, ())))
        found = [each.record for each in kept if each and each.record]
        return found if len(found) <= 1 else self._dice.sample(found, min(count, len(found)))

    def forget(self, topic: bytes, signer: str) -> None:
        if self._kept.pop((topic, signer), None) is None:
            return
        del self._topics[topic][signer]
        del self._signers[signer][topic]
        if not self._topics[topic]:
            del self._topics[topic]
        if not self._signers[signer]:
            del self._signers[signer]

    def forget_signer(self, signer: str) -> None:
        for topic in tuple(self._signers.get(signer, ())):
            self.forget(topic, signer)

    def signers(self) -> tuple[str, ...]:
        return tuple(self._signers)

    def expire(self, now: Micros) -> None:
        for (topic, signer), kept in tuple(self._kept.items()):
            if kept.until > now:
                break  # all live equally long, and renewing puts at the end
            self.forget(topic, signer)

    def _at(self, topic: bytes, signer: str, now: Micros) -> Kept | None:
        kept = self._kept.get((topic, signer))
        return kept if kept and kept.until > now else None

    def _store(self, topic: bytes, signer: str, kept: Kept) -> None:
        self._kept[topic, signer] = kept
        self._kept.move_to_end((topic, signer))
        self._topics.setdefault(topic, {})[signer] = None
        of_signer = self._signers.setdefault(signer, {})
        of_signer[topic] = None
        if len(of_signer) > self._settings.max_of_signer:
            self.forget(next(iter(of_signer)), signer)
        if len(self._kept) > self._settings.max_records:
            self.forget(*next(iter(self._kept)))

    def check(self) -> None:
        assert len(self._kept) <= self._settings.max_records
        assert sum(map(len, self._topics.values())) == len(self._kept)
        for signer, topics in self._signers.items():
            assert len(topics) <= self._settings.max_of_signer
            assert all((topic, signer) in self._kept for topic in topics)
