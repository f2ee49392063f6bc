"""Connections the kernel tracks, and ending those that lead where nothing is any more.

Once a flow is tracked, NAT sends it to the same backend for as long as packets keep coming. TCP notices that
the backend died; UDP does not, so its entries have to go when a backend goes.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address

import msgspec

from hivemind.drivers.network.netlink import (
    NETFILTER,
    Netlink,
    NetlinkError,
    Request,
    attribute,
    attributes,
    in_batches,
)

_GET, _DELETE = (1 << 8) | 1, (1 << 8) | 2
_HEADER = struct.pack("=BBH", socket.AF_INET, 0, 0)
_ORIGINAL, _REPLY = 1, 2
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SOURCE, _IP_DESTINATION = 1, 2
_PROTO_NUMBER, _PROTO_SOURCE_PORT, _PROTO_DESTINATION_PORT = 1, 2, 3


class Flow(msgspec.Struct, frozen=True):
    protocol: int
    """As in the IP header: 6 TCP, 17 UDP."""
    source: IPv4Address
    destination: IPv4Address
    port: int
    """The destination port as the client sees it."""
    answered_by: IPv4Address
    """Who really answers; differs from `destination` behind NAT."""
    answered_port: int


def forget(wanted: Callable[[Flow], bool]) -> int:
    """Deletes the tracked IPv4 flows of this namespace that `wanted` picks; returns how many."""
    netlink = Netlink(NETFILTER)
    try:
        doomed = []
        for payload in _dump(netlink):
            raw = attributes(payload[len(_HEADER) :])
            flow = _flow(raw)
            if flow is not None and wanted(flow):
                # Named by who answers: a client may by now use the same ports for a connection to somebody else,
                # and the kernel's id of a flow is that of the memory it is kept in.
                body = _HEADER + attribute(_REPLY | 0x8000, raw[_REPLY])
                gone = frozenset({errno.ENOENT})  # It may have ended by itself meanwhile.
                doomed.append(Request(_DELETE, 0, body, "end a tracked connection", gone))
        for batch in in_batches(doomed):
            netlink.transact(*batch)
        return len(doomed)
    finally:
        netlink.close()


def _dump(netlink: Netlink) -> list[bytes]:
    try:
        return netlink.dump(Request(_GET, 0, _HEADER, "list the tracked connections"))
    except NetlinkError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
            return []  # Connection tracking is not even loaded: nothing is tracked.
        raise


def _flow(raw: dict[int, bytes]) -> Flow | None:
    original, reply = (attributes(raw.get(side, b"")) for side in (_ORIGINAL, _REPLY))
    address, proto = attributes(original.get(_TUPLE_IP, b"")), attributes(original.get(_TUPLE_PROTO, b""))
    answer, answer_proto = attributes(reply.get(_TUPLE_IP, b"")), attributes(reply.get(_TUPLE_PROTO, b""))
    if _IP_SOURCE not in address or _IP_SOURCE not in answer or _PROTO_NUMBER not in proto:
        return None
    return Flow(
        protocol=proto[_PROTO_NUMBER][0],
        source=IPv4Address(address[_IP_SOURCE]),
        destination=IPv4Address(address[_IP_DESTINATION]),
        port=int.from_bytes(proto.get(_PROTO_DESTINATION_PORT, b"\0\0"), "big"),
        answered_by=IPv4Address(answer[_IP_SOURCE]),
        answered_port=int.from_bytes(answer_proto.get(_PROTO_SOURCE_PORT, b"\0\0"), "big"),
    )
