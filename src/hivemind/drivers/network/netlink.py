"""Netlink on the wire: several requests in one datagram, one acknowledgement each, errors that say what failed.

It knows no message kinds; `rtnetlink` (links, addresses, routes) and `conntrack` build those on top.
A socket belongs to the network namespace in which it was opened, whichever thread uses it later.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

ROUTE = 0
NETFILTER = 12

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400

_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_RECEIVE = 1 << 18


class Request(NamedTuple):
    kind: int
    flags: int
    body: bytes
    what: str
    """For people: completes "cannot ...", as in "add link hm12ab"."""
    tolerate: frozenset[int] = frozenset()
    """errno values that mean the wish is already fulfilled."""


class NetlinkError(OSError):
    """The kernel refused a request; `what` names it."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(number, f"cannot {what}: {os.strerror(number)}")
        self.what = what


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """One attribute; an int becomes 32 bits of host order, a str gets its closing NUL."""
    if isinstance(value, int):
        value = struct.pack("=I", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(attributes))


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data` by kind, flags of the kind masked off."""
    found = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + length]
        at += length + (-length % 4)
    return found


class Netlink:
    def __init__(self, family: int = ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.bind((0, 0))
        self._socket.settimeout(30)  # The kernel answers at once; a lost answer must not hang the worker.
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def transact(self, *requests: Request) -> None:
        """Sends all in one datagram and waits for each answer; the first refusal is raised as NetlinkError.

        The kernel carries out the others even when one is refused."""
        if not requests:
            return
        waiting = {}
        datagram = b""
        for request in requests:
            sequence = self._next()
            waiting[sequence] = request
            datagram += _message(request, sequence, REQUEST | ACK)
        self._socket.send(datagram)
        refused: NetlinkError | None = None
        while waiting:
            for kind, sequence, payload in self._receive():
                if kind != _ERROR or sequence not in waiting:
                    continue
                request = waiting.pop(sequence)
                number = -struct.unpack_from("=i", payload)[0]
                if number and number not in request.tolerate and refused is None:
                    refused = NetlinkError(number, request.what)
        if refused:
            raise refused

    def dump(self, request: Request) -> list[bytes]:
        """The payloads (headers stripped) of every object of one kind.

        A dump that something else changed under our feet is asked again by the caller's next round: what it
        holds is still true of each object it lists."""
        sequence = self._next()
        self._socket.send(_message(request, sequence, REQUEST | DUMP))
        found: list[bytes] = []
        while True:
            for kind, answered, payload in self._receive():
                if answered != sequence:
                    continue
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    raise NetlinkError(-struct.unpack_from("=i", payload)[0] or errno.EIO, request.what)
                found.append(payload)

    def _next(self) -> int:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        return self._sequence

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        data = self._socket.recv(_RECEIVE)
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
            if length < _HEADER.size:
                return
            yield kind, sequence, data[at + _HEADER.size : at + length]
            at += length + (-length % 4)


def _message(request: Request, sequence: int, flags: int) -> bytes:
    length = _HEADER.size + len(request.body)
    header = _HEADER.pack(length, request.kind, flags | request.flags, sequence, 0)
    return header + request.body + bytes(-length % 4)


def in_batches(requests: Iterable[Request], size: int = 64) -> Iterator[list[Request]]:
    """Groups of requests that fit one datagram and whose answers fit the receive buffer."""
    batch: list[Request] = []
    for request in requests:
        batch.append(request)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
