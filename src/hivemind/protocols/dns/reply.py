"""Reading replies of others: which addresses they say a name has."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from hivemind.protocols.dns.message import HEADER, Malformed, read_name
from hivemind.protocols.dns.records import IN, A

_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")


def addresses(reply: bytes) -> tuple[str, list[str]]:
    """The name that was asked for, and its IPv4 addresses, whatever aliases led to them. Raises `Malformed`."""
    if len(reply) < HEADER.size:
        raise Malformed("it is too short")
    _, _, questions, answers, _, _ = HEADER.unpack_from(reply)
    if questions != 1:
        raise Malformed("not exactly one question")
    name, at = read_name(reply, HEADER.size)
    at += _QUESTION.size
    found = []
    for _ in range(answers):
        _, at = read_name(reply, at)
        if at + _RECORD.size > len(reply):
            raise Malformed("a record is cut off")
        type, klass, _, length = _RECORD.unpack_from(reply, at)
        at += _RECORD.size
        data = reply[at : at + length]
        if type == A and klass == IN and len(data) == 4:
            found.append(str(IPv4Address(data)))
        at += length
    return b".".join(name).decode(errors="replace"), found
