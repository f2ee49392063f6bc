"""A snapshot in parts, each of which can be checked on its own.

The state's digest is the root of a tree of 4096 partitions, and the voters certify it (see `attested`). A manifest
holds the hashes of all partitions, so it is checked against the certificate, and each part against the manifest as it
comes: whoever sent a wrong one is known at once. What is there already with the right hash, from another source, from
an older manifest or because the records never changed, is not asked for again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from hivemind.errors import Corrupt
from hivemind.model.base import UNREADABLE, decode, encode
from hivemind.state.partition import PARTITIONS, hash32, name_of, partition_hash, partition_of, root_of
from hivemind.state.state import Snapshot, State
from hivemind.state.tables import record_key

PART_SIZE = 256 * 2**10
"""Bytes of records after which a part ends; one partition is never divided."""
LARGEST_PART = 64 * 2**20
_HASHES = 32 * PARTITIONS
Row = tuple[str, str, bytes]
"""Table, key, encoded record."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a state is, but for its records."""

    hive: str
    sequence: int
    time: int
    serial: int
    head: bytes
    """The chain's hash there."""
    hashes: bytes
    """Of all partitions, compressed."""

    def digest(self) -> bytes:
        """What the voters have certified, if this is true. Raises `Corrupt`."""
        return _attested(
            self.hive, self.sequence, self.time, self.serial, self.head, root_of(self.all_hashes())
        )

    def all_hashes(self) -> bytes:
        found = _unpacked(self.hashes, _HASHES)
        if len(found) != _HASHES:
            raise Corrupt("a manifest of a snapshot is cut off")
        return found


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """All records of some partitions."""

    partitions: tuple[int, ...]
    rows: bytes
    """Compressed."""


def attested(state: State, head: bytes) -> bytes:
    """The digest that voters put into checkpoints: of the records, and of all that would make a difference later."""
    return _attested(state.hive, state.sequence, state.time, state.serial, head, state.digest())


def _attested(hive: str, sequence: int, time: int, serial: int, head: bytes, root: bytes) -> bytes:
    numbers = f"{sequence} {time} {serial}".encode()
    return hash32(b"hivemind/state/1", hive.encode(), numbers, head, root)


class Source:
    """Gives the parts of one snapshot. Building it costs as much as reading the snapshot: do it in a thread."""

    def __init__(self, snapshot: bytes, head: bytes) -> None:
        saved = decode(snapshot, Snapshot)
        self._rows = _by_partition(
            (table, key, bytes(raw)) for table, rows in saved.tables.items() for key, raw in rows.items()
        )
        self._hashes = _hashes(self._rows)
        self.manifest = Manifest(
            hive=saved.hive,
            sequence=saved.sequence,
            time=saved.time,
            serial=saved.serial,
            head=head,
            hashes=zlib.compress(self._hashes, 1),
        )

    def parts(self, wanted: Iterable[int]) -> Iterator[Part]:
        partitions: list[int] = []
        rows: list[Row] = []
        size = 0
        for partition in wanted:
            mine = self._rows.get(partition, [])
            partitions.append(partition)
            rows += mine
            size += sum(len(record) for _, _, record in mine)
            if size >= PART_SIZE:
                yield _part(partitions, rows)
                partitions, rows, size = [], [], 0
        if partitions:
            yield _part(partitions, rows)


class Assembly:
    """Becomes a snapshot, part by part. `retarget` goes on to another manifest with what still fits."""

    def __init__(self, manifest: Manifest, own: dict[str, dict[str, Any]] | None = None) -> None:
        """`own`: records by table and key that need not be sent again."""
        self._rows = _by_partition(_rows_of(own or {}))
        self._have = _hashes(self._rows)
        self.retarget(manifest)

    def retarget(self, manifest: Manifest) -> None:
        self.manifest, self._want = manifest, manifest.all_hashes()

    def missing(self) -> list[int]:
        return [p for p in range(PARTITIONS) if _at(self._have, p) != _at(self._want, p)]

    def add(self, part: Part) -> None:
        """Raises `Corrupt` when it is not what the manifest says; nothing has changed then."""
        try:
            listed = msgspec.msgpack.decode(_unpacked(part.rows, LARGEST_PART), type=list[Row])
        except (*UNREADABLE, ValueError):
            raise Corrupt("a part of a snapshot cannot be read") from None
        rows = _by_partition(listed)
        if not rows.keys() <= set(part.partitions) or not all(0 <= p < PARTITIONS for p in part.partitions):
            raise Corrupt("a part of a snapshot holds what does not belong into it")
        hashes = {p: _hash(rows.get(p, [])) for p in part.partitions}
        if any(hashed != _at(self._want, p) for p, hashed in hashes.items()):
            raise Corrupt("a part of a snapshot does not match what was certified")
        have = bytearray(self._have)
        for partition, hashed in hashes.items():
            self._rows[partition] = rows.get(partition, [])
            have[32 * partition : 32 * partition + 32] = hashed
        self._have = bytes(have)

    def snapshot(self) -> bytes:
        """Once nothing is missing."""
        tables: dict[str, dict[str, msgspec.Raw]] = {}
        for table, key, record in sorted(row for rows in self._rows.values() for row in rows):
            tables.setdefault(table, {})[key] = msgspec.Raw(record)
        manifest = self.manifest
        return encode(
            Snapshot(
                format=1,
                hive=manifest.hive,
                sequence=manifest.sequence,
                time=manifest.time,
                serial=manifest.serial,
                tables=tables,
            )
        )


def _rows_of(tables: dict[str, dict[str, Any]]) -> Iterator[Row]:
    for table, rows in tables.items():
        for key, record in rows.items():
            yield table, key, encode(record)


def _by_partition(rows: Iterable[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(partition_of(name_of(record_key(row[0], row[1]))), []).append(row)
    return found


def _hash(rows: list[Row]) -> bytes:
    return partition_hash({name_of(record_key(table, key)): hash32(record) for table, key, record in rows})


def _hashes(rows: dict[int, list[Row]]) -> bytes:
    return b"".join(_hash(rows.get(partition, [])) for partition in range(PARTITIONS))


def _at(hashes: bytes, partition: int) -> bytes:
    return hashes[32 * partition : 32 * partition + 32]


def _part(partitions: list[int], rows: list[Row]) -> Part:
    return Part(partitions=tuple(partitions), rows=zlib.compress(msgspec.msgpack.encode(rows), 1))


def _unpacked(data: bytes, most: int) -> bytes:
    """Raises `Corrupt` for more than `most` bytes, before they take memory."""
    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress(data, most)
    except zlib.error:
        raise Corrupt("a part of a snapshot cannot be unpacked") from None
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise Corrupt("a part of a snapshot is larger than it may be, or cut off")
    return found
