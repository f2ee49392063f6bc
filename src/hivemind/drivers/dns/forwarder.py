"""Forwarding: asks the machine's own name servers for names that are not ours.

Every query goes out from a fresh socket, so that the kernel picks a port at random, connected, so that only
the upstream itself can reply, and with an id of its own. A reply with another id or question is not ours.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import Callable, Sequence

from hivemind.protocols.dns.message import HEADER, QR, TC

Address = tuple[str, int]
_LENGTH = struct.Struct("!H")
_RETRY_AT_NEXT = {2, 4, 5}
"""SERVFAIL, NOTIMP and REFUSED: this upstream cannot say, another may."""


class NoReply(Exception):
    """One upstream did not give a usable reply."""


class Forwarder:
    """Bounded: beyond `in_flight` queries at a time the next fails at once instead of piling up."""

    def __init__(
        self,
        upstreams: Callable[[], Sequence[Address]],
        *,
        timeout: float = 2.0,
        rounds: int = 2,
        in_flight: int = 512,
    ) -> None:
        """`timeout` is for one try at one upstream, in seconds; every upstream is tried `rounds` times."""
        self._upstreams = upstreams
        self._timeout = timeout
        self._rounds = rounds
        self._free = in_flight

    async def ask(self, data: bytes, question: bytes, skip: frozenset[Address], *, tcp: bool) -> bytes | None:
        """The reply to the query `data`, under the query's own id; None when nobody replied.

        `question` is its question section and `skip` our own addresses. With `tcp` a truncated reply is
        fetched whole; without it goes to the client as it is, who then comes back by TCP."""
        upstreams = [address for address in self._upstreams() if address not in skip]
        if not upstreams or not self._free:
            return None
        self._free -= 1
        try:
            return await self._ask_any(upstreams, data, question, tcp)
        finally:
            self._free += 1

    async def _ask_any(
        self, upstreams: list[Address], data: bytes, question: bytes, tcp: bool
    ) -> bytes | None:
        refusal = None
        for _ in range(self._rounds):
            for address in upstreams:
                try:
                    reply = await self._ask_one(address, data, question, tcp)
                except (NoReply, OSError, TimeoutError):
                    continue
                if reply[3] & 15 not in _RETRY_AT_NEXT:
                    return reply
                refusal = reply
            if refusal is not None:
                return refusal  # Everyone was asked and somebody is there: asking again changes nothing.
        return None

    async def _ask_one(self, address: Address, data: bytes, question: bytes, tcp: bool) -> bytes:
        id = secrets.token_bytes(2)
        async with asyncio.timeout(self._timeout):
            reply = await _by_udp(address, id + data[2:], question)
            if tcp and reply[2] << 8 & TC:
                reply = await _by_tcp(address, id + data[2:], question)
        return data[:2] + reply[2:]


async def _by_udp(address: Address, query: bytes, question: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(address)  # Numeric and UDP: this does not block.
        await loop.sock_sendall(sock, query)
        while True:
            reply = await loop.sock_recv(sock, 65535)
            if _matches(reply, query, question):
                return reply


async def _by_tcp(address: Address, query: bytes, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(_LENGTH.pack(len(query)) + query)
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        reply = await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise NoReply(f"{address[0]} closed the connection") from error
    finally:
        writer.close()
    if not _matches(reply, query, question):
        raise NoReply(f"{address[0]} answered something else")
    return reply


def _matches(reply: bytes, query: bytes, question: bytes) -> bool:
    """Some servers leave the question out of an error; everything else must repeat it."""
    if len(reply) < HEADER.size or reply[:2] != query[:2] or not reply[2] << 8 & QR:
        return False
    if reply[HEADER.size : HEADER.size + len(question)].lower() == question.lower():
        return True
    return reply[3] & 15 != 0 and reply[4:6] == b"\0\0"
