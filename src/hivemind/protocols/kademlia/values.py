"""What is stored here for others: values. An immutable one is known by its hash, a mutable one by its signer and salt,
and only a higher number replaces it."""

from __future__ import annotations

from collections import OrderedDict

from hivemind.protocols.kademlia.settings import Settings
from hivemind.protocols.kademlia.wire import Stored
from hivemind.protocols.machine import Micros

SEQUENCE_REUSED = "sequence reused"
SEQUENCE_TOO_LOW = "sequence too low"


class Values:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: OrderedDict[bytes, tuple[Stored, Micros, str]] = OrderedDict()
        """By key: the value, until when, and whose it is."""
        self._owned: dict[str, OrderedDict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes, now: Micros) -> Stored | None:
        found = self._kept.get(key)
        return found[0] if found and found[1] > now else None

    def put(self, key: bytes, value: Stored, owner: str, now: Micros) -> str:
        """Why not, or nothing. Hash or signature were verified."""
        known = self.get(key, now)
        if known and value.signer and known.sequence >= value.sequence:
            if known.sequence > value.sequence:
                return SEQUENCE_TOO_LOW
            if known.value != value.value:
                return SEQUENCE_REUSED
        if key in self._kept:
            self._forget(key)
        self._kept[key] = (value, now + self._settings.value_time, owner)
        owned = self._owned.setdefault(owner, OrderedDict())
        owned[key] = None
        if len(owned) > self._settings.max_of_signer:
            self._forget(next(iter(owned)))
        if len(self._kept) > self._settings.max_records:
            self._forget(next(iter(self._kept)))
        return ""

    def expire(self, now: Micros) -> None:
        for key, (_, until, _) in tuple(self._kept.items()):
            if until > now:
                break
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        owner = self._kept.pop(key)[2]
        owned = self._owned[owner]
        del owned[key]
        if not owned:
            del self._owned[owner]

    def check(self) -> None:
        assert len(self._kept) <= self._settings.max_records
        assert sum(map(len, self._owned.values())) == len(self._kept)
        assert all(len(owned) <= self._settings.max_of_signer for owned in self._owned.values())
