"""The record types that Hivemind answers with, and names."""

from __future__ import annotations

import ipaddress
import struct
from functools import lru_cache
from typing import NamedTuple, Protocol

Name = tuple[bytes, ...]
"""Lower-case labels without the root."""

A, NS, SOA, PTR, AAAA, SRV, OPT, IXFR, AXFR, ANY = 1, 2, 6, 12, 28, 33, 41, 251, 252, 255
IN = 1


class Sink(Protocol):
    """Where record data is written to."""

    buffer: bytearray

    def name(self, name: Name, *, compress: bool = True) -> None: ...


class Data(Protocol):
    @property
    def type(self) -> int: ...

    def write(self, sink: Sink) -> None: ...


class Address(NamedTuple):
    """A or AAAA, by its length."""

    packed: bytes

    @property
    def type(self) -> int:
        return A if len(self.packed) == 4 else AAAA

    def write(self, sink: Sink) -> None:
        sink.buffer += self.packed


class Service(NamedTuple):
    """SRV."""

    port: int
    target: Name

    @property
    def type(self) -> int:
        return SRV

    def write(self, sink: Sink) -> None:
        sink.buffer += struct.pack("!HHH", 0, 0, self.port)
        sink.name(self.target, compress=False)


class Pointer(NamedTuple):
    """PTR."""

    target: Name

    @property
    def type(self) -> int:
        return PTR

    def write(self, sink: Sink) -> None:
        sink.name(self.target)


class Authority(NamedTuple):
    """SOA. Its `minimum` is how long a client may remember that something does not exist."""

    minimum: int

    @property
    def type(self) -> int:
        return SOA

    def write(self, sink: Sink) -> None:
        sink.name((b"ns", b"hive"))
        sink.name((b"hostmaster", b"hive"))
        sink.buffer += struct.pack("!5I", 1, 3600, 600, 86400, self.minimum)


def parse_name(text: str) -> Name:
    """`web.local` -> `(b"web", b"local")`. The text is a valid name in ASCII; a trailing dot is ignored."""
    return tuple(label.encode("ascii").lower() for label in text.rstrip(".").split(".") if label)


@lru_cache(maxsize=8192)
def pack(ip: str) -> bytes:
    """The 4 or 16 bytes of a valid address."""
    return ipaddress.ip_address(ip).packed


def is_loopback(ip: str) -> bool:
    packed = pack(ip)
    return packed[0] == 127 if len(packed) == 4 else int.from_bytes(packed, "big") == 1


def reverse_name(ip: str) -> Name:
    """`10.1.2.3` -> `3.2.1.10.in-addr.arpa`."""
    packed = pack(ip)
    if len(packed) == 4:
        return (*(str(byte).encode() for byte in reversed(packed)), b"in-addr", b"arpa")
    return (*(digit.encode() for digit in reversed(packed.hex())), b"ip6", b"arpa")
