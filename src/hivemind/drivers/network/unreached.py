"""Where allocations tried to connect by TCP and could not: kept by the packet filter, read when somebody asks.

Three sets in the node's table, by who asked whom at which port: whom a reset answered (`refused`), what a router or
the node itself declared unreachable, and who stayed silent when asked again. The rules look only at packets that
open, refuse or report a connection, by flags; what is established passes them with one comparison. Whoever answers
after all is taken out of the sets again: what counts is the last try.

The kernel's connection tracking says who had asked whom, so addresses and ports are those that the container used,
whatever they were translated to.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address

import msgspec

from hivemind.drivers.network.netlink import NETFILTER, Netlink, NetlinkError, Request, attribute, attributes

WHY = {"refusing": "refused", "barred": "unreachable", "silent": "silent"}
"""The sets, and what each is called in `Network.unreachable`."""
_KEPT = "1h"
_ROOM = 8192
"""Entries of a set. A container that knocks at every port must not fill the memory; what finds no room is not kept."""

_SUBSYSTEM = 10
_GET_ELEMENTS = _SUBSYSTEM << 8 | 13
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_ELEMENT_KEY, _VALUE = 1, 1
_HEADER = struct.pack("=BBH", socket.AF_INET, 0, 0)
_KEY = struct.Struct("!4s4sH2x")
_MEMBER = struct.Struct("=HH")


class Failure(msgspec.Struct, frozen=True, order=True):
    address: IPv4Address
    port: int
    kind: str
    """Name of the set."""

    @property
    def why(self) -> str:
        return WHY[self.kind]


def base(table: str, links: str) -> list[str]:
    """Statements that lay sets and rules, again or for the first time. `links`: how the names of the links of
    allocations begin."""
    to_us, from_us = f'oifname "{links}*"', f'iifname "{links}*"'
    who = "ct original ip saddr . ct original ip daddr . ct original proto-dst"
    kind = f"type ipv4_addr . ipv4_addr . inet_service; flags dynamic,timeout; timeout {_KEPT}; size {_ROOM};"
    hooks = {
        "asking": "filter hook prerouting priority filter",
        "answered": "filter hook postrouting priority filter",
    }
    rules = [
        # Connection tracking confirms the first packet when it leaves; so one that asks is confirmed when it repeats.
        (
            "asking",
            f"{from_us} tcp flags & (syn | ack) == syn ct status & (confirmed | seen-reply) == confirmed"
            f" update @silent {{ {who} }}",
        ),
        # A reset that answers the first packet of a connection has the number 0.
        (
            "answered",
            f"{to_us} tcp flags & (rst | ack) == rst | ack tcp sequence 0 update @refusing {{ {who} }}",
        ),
        (
            "answered",
            # The report quotes the header of what it is about: of TCP. Code 4 is no more than a packet too long.
            f"{to_us} icmp type destination-unreachable icmp code != 4 @th,136,8 6 ct status & seen-reply == 0"
            f" update @barred {{ {who} }}",
        ),
        *(
            ("answered", f"{to_us} tcp flags & (syn | ack) == syn | ack delete @{name} {{ {who} }}")
            for name in WHY
        ),
    ]
    return [
        *(f"add set {table} {name} {{ {kind} }}" for name in WHY),
        *(f"add chain {table} {name} {{ type {hook}; policy accept; }}" for name, hook in hooks.items()),
        *(f"flush chain {table} {name}" for name in hooks),
        *(f"add rule {table} {chain} {rule}" for chain, rule in rules),
    ]


def failures(table: str, sources: Collection[IPv4Address]) -> list[tuple[IPv4Address, Failure]]:
    """Of the allocations at these addresses. `table` as nft names it: `ip hivemind_1234`."""
    netlink = Netlink(NETFILTER)
    try:
        return [
            (source, Failure(address, port, kind))
            for kind in WHY
            for source, address, port in _elements(netlink, table.split()[1], kind)
            if source in sources
        ]
    finally:
        netlink.close()


def forgetting(table: str, source: IPv4Address, known: Failure) -> str:
    """The statement that takes it out, which may be refused: it may have run out."""
    return f"delete element {table} {known.kind} {{ {source} . {known.address} . {known.port} }}"


def _elements(netlink: Netlink, table: str, name: str) -> Iterator[tuple[IPv4Address, IPv4Address, int]]:
    body = _HEADER + attribute(_LIST_TABLE, table) + attribute(_LIST_SET, name)
    try:
        payloads = netlink.dump(Request(_GET_ELEMENTS, 0, body, f"list the set {name}"))
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return  # Somebody flushed our table; the next change lays it anew.
        raise
    for payload in payloads:
        listed = attributes(payload[len(_HEADER) :]).get(_LIST_ELEMENTS, b"")
        for element in _members(listed):
            key = attributes(attributes(element).get(_ELEMENT_KEY, b"")).get(_VALUE, b"")
            if len(key) == _KEY.size:
                source, address, port = _KEY.unpack(key)
                yield IPv4Address(source), IPv4Address(address), port


def _members(data: bytes) -> Iterator[bytes]:
    """The values in a list of attributes that are all of one kind."""
    at = 0
    while at + _MEMBER.size <= len(data):
        length, _ = _MEMBER.unpack_from(data, at)
        if length < _MEMBER.size:
            return
        yield data[at + _MEMBER.size : at + length]
        at += length + (-length % 4)
