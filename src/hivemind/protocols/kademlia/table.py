"""The routing table (section 2.4 of the paper): in each distance up to k nodes, those known longest before newer ones,
because who was there long will be there long. Only who has answered at its address gets in, and with one key only at
one place: ids cannot be chosen, and each costs an address."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from hivemind.protocols.kademlia.ids import BITS, Address, distance, node_id
from hivemind.protocols.machine import Micros


class Contact:
    __slots__ = ("address", "checked", "heard", "id", "signer")

    def __init__(self, address: Address, signer: str, heard: Micros) -> None:
        self.address, self.signer, self.heard = address, signer, heard
        self.id = node_id(address)
        self.checked: Micros = heard
        """When it was last asked whether it is there."""


class Table:
    """`own`: where distances begin; any id, while a node has none of its own."""

    def __init__(self, own: bytes, k: int) -> None:
        self.own, self._k = own, k
        self._buckets: dict[int, list[Contact]] = {}
        """By how many of the first bits are the node's own; least recently heard first."""
        self._waiting: dict[int, Contact] = {}
        """The newest that found its bucket full."""
        self._by_id: dict[bytes, Contact] = {}
        self._by_signer: dict[str, Contact] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Contact]:
        return iter(tuple(self._by_id.values()))

    def get(self, address: Address) -> Contact | None:
        return self._by_id.get(node_id(address))

    def of(self, signer: str) -> Contact | None:
        return self._by_signer.get(signer)

    def closest(self, target: bytes, count: int) -> list[Contact]:
        return heapq.nsmallest(count, self._by_id.values(), key=lambda each: distance(each.id, target))

    def stalest(self, count: int) -> list[Contact]:
        return heapq.nsmallest(count, self._by_id.values(), key=lambda each: (each.heard, each.id))

    def heard(self, address: Address, signer: str, now: Micros) -> Contact | None:
        """It has answered. Returns the one to ask whether it is still there, when there is no room otherwise."""
        known = self.get(address)
        if known and known.signer == signer:
            known.heard = known.checked = now
            bucket = self._buckets[self._index(known.id)]
            bucket.remove(known)
            bucket.append(known)
            return None
        for old in (known, self._by_signer.get(signer)):
            if old:
                self.remove(old)
        return self._add(Contact(address, signer, now))

    def remove(self, contact: Contact) -> None:
        """Who waited for room gets its place."""
        if self._by_id.get(contact.id) is not contact:
            return
        index = self._index(contact.id)
        self._buckets[index].remove(contact)
        del self._by_id[contact.id]
        if self._by_signer.get(contact.signer) is contact:
            del self._by_signer[contact.signer]
        waiting = self._waiting.pop(index, None)
        if waiting and waiting.signer not in self._by_signer and waiting.id not in self._by_id:
            self._add(waiting)

    def move(self, own: bytes) -> None:
        """Distances begin elsewhere."""
        if own == self.own:
            return
        contacts = sorted(self._by_id.values(), key=lambda each: each.heard)
        self.own, self._buckets, self._waiting, self._by_id, self._by_signer = own, {}, {}, {}, {}
        for contact in contacts:
            if contact.id != own:
                self._add(contact)

    def _add(self, contact: Contact) -> Contact | None:
        if contact.id == self.own:
            return None
        index = self._index(contact.id)
        bucket = self._buckets.setdefault(index, [])
        if len(bucket) >= self._k:
            self._waiting[index] = contact
            return bucket[0]
        bucket.append(contact)
        self._by_id[contact.id] = self._by_signer[contact.signer] = contact
        return None

    def _index(self, id: bytes) -> int:
        return BITS - distance(self.own, id).bit_length()

    def check(self) -> None:
        for index, bucket in self._buckets.items():
            assert len(bucket) <= self._k, "a bucket holds more than k"
            for contact in bucket:
                assert self._index(contact.id) == index and contact.id == node_id(contact.address)
                assert self._by_id[contact.id] is contact
                assert self._by_signer[contact.signer] is contact, "one key is at two places"
        assert sum(map(len, self._buckets.values())) == len(self._by_id) == len(self._by_signer)
