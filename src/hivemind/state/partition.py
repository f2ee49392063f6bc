"""The partition tree: an incremental digest over a set of keyed values.

Castro's thesis (§5.3) digests state as a hierarchy of partitions, so that a change costs only its path to the
root and two replicas find where they differ by walking down. Here: 4096 leaf partitions chosen by the hash of
the key, and two inner levels, 256 partitions to a group and 16 groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

PARTITIONS = 4096
_FANOUT = 256
_EMPTY = bytes(32)
_NOTHING = bytes(32 * _FANOUT)
"""A group whose partitions are all empty."""


def hash32(*parts: bytes | bytearray) -> bytes:
    """BLAKE2b-256 over length-prefixed parts."""
    whole = b"".join([piece for part in parts for piece in (len(part).to_bytes(8, "big"), part)])
    return hashlib.blake2b(whole, digest_size=32).digest()


def _hash_of(part: bytes) -> bytes:
    """`hash32` of one part, which is what nearly all of the hashing for a digest is."""
    return hashlib.blake2b(len(part).to_bytes(8, "big") + part, digest_size=32).digest()


def name_of(key: bytes) -> bytes:
    return _hash_of(key)


def partition_of(name: bytes) -> int:
    """In which of the leaf partitions the key of that name is."""
    return int.from_bytes(name[:2], "big") >> 4


def partition_hash(leaves: Mapping[bytes, bytes]) -> bytes:
    """`leaves`: name -> hash of the value."""
    return hash32(*(name + leaves[name] for name in sorted(leaves))) if leaves else _EMPTY


def root_of(hashes: bytes | bytearray) -> bytes:
    """From the hashes of all partitions, as `PartitionTree.hashes` gives them."""
    size = 32 * _FANOUT
    groups = (hashes[at : at + size] for at in range(0, len(hashes), size))
    return hash32(b"".join(hash32(group) if group != _NOTHING else _EMPTY for group in groups))


class PartitionTree:
    """`set` any number of keys, then ask for the `root`."""

    def __init__(self) -> None:
        self._leaves: dict[int, dict[bytes, bytes]] = {}
        self._partitions: dict[int, bytearray] = {}
        """Group -> the hashes of its partitions, one behind the other; zeros where one is empty."""
        self._groups: dict[int, bytes] = {}
        self._dirty: set[int] = set()
        self._root = hash32(bytes(32 * (PARTITIONS // _FANOUT)))

    def set(self, key: bytes, value: bytes | None) -> None:
        """`value` None removes the key."""
        name = name_of(key)
        index = partition_of(name)
        leaves = self._leaves.setdefault(index, {})
        if value is None:
            leaves.pop(name, None)
        else:
            leaves[name] = _hash_of(value)
        self._dirty.add(index)

    def root(self) -> bytes:
        """32 bytes; equal for equal contents, however they came to be."""
        if not self._dirty:
            return self._root
        groups = set()
        for index in self._dirty:
            leaves = self._leaves[index]
            group, position = divmod(index, _FANOUT)
            partitions = self._partitions.setdefault(group, bytearray(32 * _FANOUT))
            partitions[32 * position : 32 * position + 32] = partition_hash(leaves)
            if not leaves:
                del self._leaves[index]
            groups.add(group)
        for group in groups:
            partitions = self._partitions[group]
            if partitions != _NOTHING:
                self._groups[group] = hash32(partitions)
            else:
                self._groups.pop(group, None)
        self._dirty.clear()
        self._root = hash32(
            b"".join(self._groups.get(group, _EMPTY) for group in range(PARTITIONS // _FANOUT))
        )
        return self._root

    def hashes(self) -> bytes:
        """Of all partitions, one behind the other; zeros where one is empty."""
        self.root()
        return b"".join(self._partitions.get(group, _NOTHING) for group in range(PARTITIONS // _FANOUT))
