"""DNS messages on the wire: reading queries, writing responses.

RFC 1035 (format, compression), 6891 (EDNS), 2782 (SRV targets are not compressed), 2308 (negative answers).
Names are tuples of lower-case labels without the root: `(b"web", b"local")`. Nothing here trusts its input:
whatever arrives, reading ends in a `Query`, in `Malformed`, or in `None` for what deserves no reply at all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from hivemind.protocols.dns.records import IN, OPT, Data, Name

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

HEADER = struct.Struct("!6H")
QR, AA, TC, RD, RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080

PLAIN_SIZE = 512
"""Bytes of a UDP response to a client that does not speak EDNS."""
EDNS_SIZE = 1232
"""What we offer and the most we send in one datagram: it is not fragmented on any sane path."""
TCP_SIZE = 65535


class Malformed(Exception):
    """The bytes are no DNS query. Never leaves this room: it becomes a FORMERR."""


class Query(NamedTuple):
    id: int
    flags: int
    name: Name
    type: int
    klass: int
    question: bytes
    """The question as it came, so that the response repeats the client's spelling."""
    edns: int | None = None
    """The size of datagram the client takes; None when it does not speak EDNS."""
    version: int = 0

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 15


class Record(NamedTuple):
    name: Name
    ttl: int
    data: Data


def read_name(data: bytes, offset: int) -> tuple[Name, int]:
    """The name at `offset` and where it ends. Raises `Malformed`.

    A pointer must lead before the part it stands in, so that every chain of pointers ends."""
    labels: list[bytes] = []
    length, end, start = 1, 0, offset
    while True:
        if offset >= len(data):
            raise Malformed("a name runs past the end")
        size = data[offset]
        if size == 0:
            return tuple(labels), end or offset + 1
        if size & 0xC0 == 0xC0:
            if offset + 1 >= len(data):
                raise Malformed("a pointer runs past the end")
            target = (size & 0x3F) << 8 | data[offset + 1]
            if not HEADER.size <= target < start:
                raise Malformed("a pointer does not lead backwards")
            end = end or offset + 2
            offset = start = target
            continue
        length += size + 1
        if size > 63 or length > 255:
            raise Malformed("a name is too long")
        label = data[offset + 1 : offset + 1 + size]
        if len(label) < size:
            raise Malformed("a label runs past the end")
        labels.append(label.lower())
        offset += 1 + size


def read_query(data: bytes) -> Query | None:
    """None for what is not a query at all (too short, or a response). Raises `Malformed`."""
    if len(data) < HEADER.size:
        return None
    id, flags, questions, answers, authorities, additionals = HEADER.unpack_from(data)
    if flags & QR:
        return None
    if questions != 1:
        raise Malformed("not exactly one question")
    name, offset = read_name(data, HEADER.size)
    if offset + 4 > len(data):
        raise Malformed("the question is cut off")
    type, klass = struct.unpack_from("!HH", data, offset)
    query = Query(id, flags, name, type, klass, data[HEADER.size : offset + 4])
    return _with_edns(query, data, offset + 4, answers + authorities + additionals)


def _with_edns(query: Query, data: bytes, offset: int, records: int) -> Query:
    """Walks over the records behind the question; of these only OPT means anything in a query."""
    for _ in range(records):
        name, offset = read_name(data, offset)
        if offset + 10 > len(data):
            raise Malformed("a record is cut off")
        type, size, extended, length = struct.unpack_from("!HHIH", data, offset)
        offset += 10 + length
        if offset > len(data):
            raise Malformed("the data of a record is cut off")
        if type == OPT:
            if name or query.edns is not None:
                raise Malformed("OPT is named or repeated")
            query = query._replace(edns=size, version=extended >> 16 & 0xFF)
    return query


class Writer:
    """A message being written; remembers where names stand so that later ones can point to them."""

    def __init__(self, query: Query) -> None:
        self.buffer = bytearray(HEADER.size)
        self._offsets: dict[Name, int] = {}
        position = HEADER.size
        for i, label in enumerate(query.name):
            self._offsets[query.name[i:]] = position
            position += 1 + len(label)
        self.buffer += query.question

    def name(self, name: Name, *, compress: bool = True) -> None:
        for i, label in enumerate(name):
            known = self._offsets.get(name[i:]) if compress else None
            if known is not None:
                self.buffer += (0xC000 | known).to_bytes(2, "big")
                return
            if len(self.buffer) < 0x4000:
                self._offsets.setdefault(name[i:], len(self.buffer))
            self.buffer.append(len(label))
            self.buffer += label
        self.buffer.append(0)

    def record(self, record: Record) -> None:
        self.name(record.name)
        self.buffer += struct.pack("!HHI", record.data.type, IN, record.ttl)
        length = len(self.buffer)
        self.buffer += b"\0\0"
        record.data.write(self)
        struct.pack_into("!H", self.buffer, length, len(self.buffer) - length - 2)


def write_response(
    query: Query,
    rcode: int = NOERROR,
    *,
    answers: Iterable[Record] = (),
    authority: Iterable[Record] = (),
    additional: Iterable[Record] = (),
    flags: int = 0,
    limit: int = TCP_SIZE,
) -> bytes:
    """A response of at most `limit` bytes. Answers that do not fit are left out and TC is set; additional
    records that do not fit are left out silently, as they may be."""
    writer = Writer(query)
    opt = b"" if query.edns is None else _opt(rcode)
    room = limit - len(opt)
    counts = []
    for section in (answers, authority, additional):
        count = 0
        for record in section:
            mark = len(writer.buffer)
            writer.record(record)
            if len(writer.buffer) > room:
                del writer.buffer[mark:]
                # Nothing may be written behind a record that was taken back: a name could point into it.
                room = 0
                flags |= 0 if section is additional else TC
                break
            count += 1
        counts.append(count)
        if not room:
            break
    counts += [0] * (3 - len(counts))
    writer.buffer += opt
    kept = query.flags & (0x7800 | RD)
    HEADER.pack_into(
        writer.buffer, 0, query.id, QR | kept | flags | rcode & 15, 1, *counts[:2], counts[2] + bool(opt)
    )
    return bytes(writer.buffer)


def _opt(rcode: int) -> bytes:
    return b"\0" + struct.pack("!HHIH", OPT, EDNS_SIZE, rcode >> 4 << 24, 0)


def write_formerr(data: bytes) -> bytes:
    """To a query that could not be read only its header can be answered. `data` has one."""
    id, flags = struct.unpack_from("!HH", data)
    return HEADER.pack(id, QR | flags & (0x7800 | RD) | FORMERR, 0, 0, 0, 0)
