"""The few rtnetlink messages a routed network needs: links, addresses, routes and neighbours, IPv4 only."""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import msgspec

from hivemind.drivers.network.netlink import (
    CREATE,
    EXCLUSIVE,
    REPLACE,
    Netlink,
    Request,
    attribute,
    attributes,
    nested,
)

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH = 28

_LINK = struct.Struct("=BBHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BBHiHBB")

_IFF_UP = 0x1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 4, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL = 1, 2, 3
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_NDA_DST, _NDA_LLADDR = 1, 2
_RT_TABLE_MAIN, _RT_TABLE_LOCAL = 254, 255
_RTPROT_STATIC = 4
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_RTN_UNICAST, _RTNH_F_ONLINK = 1, 4
_NUD_PERMANENT = 0x80

_GONE = frozenset({errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL})


class Link(msgspec.Struct, frozen=True):
    index: int
    name: str
    mtu: int


class Address(msgspec.Struct, frozen=True):
    interface: IPv4Interface
    link: int
    label: str


class Route(msgspec.Struct, frozen=True):
    destination: IPv4Network
    link: int
    """Index of the link it leaves by; 0 when it has none (blackholes, multipath)."""


def add_veth(name: str, mac: bytes, peer: str, peer_mac: bytes, peer_netns: int, mtu: int) -> Request:
    """A pair, both ends down: one here, its peer straight in the namespace behind the descriptor."""
    inside = (
        _link()
        + attribute(_IFLA_IFNAME, peer)
        + attribute(_IFLA_ADDRESS, peer_mac)
        + attribute(_IFLA_MTU, mtu)
        + attribute(_IFLA_NET_NS_FD, peer_netns)
    )
    kind = attribute(_INFO_KIND, "veth") + nested(_INFO_DATA, nested(_VETH_PEER, inside))
    body = (
        _link()
        + attribute(_IFLA_IFNAME, name)
        + attribute(_IFLA_ADDRESS, mac)
        + attribute(_IFLA_MTU, mtu)
        + nested(_IFLA_LINKINFO, kind)
    )
    return Request(_NEWLINK, CREATE | EXCLUSIVE, body, f"add the veth pair {name}")


def set_up(index: int) -> Request:
    return Request(_NEWLINK, 0, _link(index, _IFF_UP, _IFF_UP), f"set link {index} up")


def delete_link(index: int) -> Request:
    return Request(_DELLINK, 0, _link(index), f"delete link {index}", _GONE)


def add_address(index: int, address: IPv4Address, label: str = "") -> Request:
    """A label starts with the link's name and a colon; at most 15 characters."""
    body = _address(index, address) + (attribute(_IFA_LABEL, label) if label else b"")
    return Request(_NEWADDR, CREATE | REPLACE, body, f"give {address} to link {index}")


def delete_address(index: int, address: IPv4Address) -> Request:
    return Request(_DELADDR, 0, _address(index, address), f"take {address} from link {index}", _GONE)


def add_route(
    destination: IPv4Network,
    index: int,
    *,
    gateway: IPv4Address | None = None,
    source: IPv4Address | None = None,
) -> Request:
    """A gateway counts as on-link, whatever the routes say. `source` is what the node calls itself there."""
    scope, flags = (_SCOPE_UNIVERSE, _RTNH_F_ONLINK) if gateway else (_SCOPE_LINK, 0)
    body = _route(destination, scope, flags) + attribute(_RTA_OIF, index)
    if gateway:
        body += attribute(_RTA_GATEWAY, gateway.packed)
    if source:
        body += attribute(_RTA_PREFSRC, source.packed)
    return Request(_NEWROUTE, CREATE | REPLACE, body, f"route {destination} by link {index}")


def delete_route(destination: IPv4Network, index: int) -> Request:
    body = _route(destination, _SCOPE_LINK, 0) + attribute(_RTA_OIF, index)
    return Request(_DELROUTE, 0, body, f"delete the route to {destination}", _GONE)


def add_neighbour(index: int, address: IPv4Address, mac: bytes) -> Request:
    body = _NEIGHBOUR.pack(socket.AF_INET, 0, 0, index, _NUD_PERMANENT, 0, 0)
    body += attribute(_NDA_DST, address.packed) + attribute(_NDA_LLADDR, mac)
    return Request(_NEWNEIGH, CREATE | REPLACE, body, f"set the neighbour {address} on link {index}")


def links(netlink: Netlink) -> dict[str, Link]:
    """Every link of the namespace by name."""
    found = {}
    for payload in netlink.dump(Request(_GETLINK, 0, _link(), "list the links")):
        _, _, _, index, _, _ = _LINK.unpack_from(payload)
        fields = attributes(payload[_LINK.size :])
        name = _text(fields[_IFLA_IFNAME])
        mtu = struct.unpack("=I", fields[_IFLA_MTU])[0] if _IFLA_MTU in fields else 0
        found[name] = Link(index, name, mtu)
    return found


def routes(netlink: Netlink) -> list[Route]:
    """The unicast routes of every table but the local one."""
    request = Request(_GETROUTE, 0, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0), "list the routes")
    found = []
    for payload in netlink.dump(request):
        family, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(payload)
        if family != socket.AF_INET or table == _RT_TABLE_LOCAL or kind != _RTN_UNICAST:
            continue
        fields = attributes(payload[_ROUTE.size :])
        destination = IPv4Network((fields.get(_RTA_DST, bytes(4)), length))
        link = struct.unpack("=I", fields[_RTA_OIF])[0] if _RTA_OIF in fields else 0
        found.append(Route(destination, link))
    return found


def addresses(netlink: Netlink) -> list[Address]:
    """Every IPv4 address of the namespace."""
    request = Request(_GETADDR, 0, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0), "list the addresses")
    found = []
    for payload in netlink.dump(request):
        family, length, _, _, index = _ADDRESS.unpack_from(payload)
        if family == socket.AF_INET:
            fields = attributes(payload[_ADDRESS.size :])
            local = fields.get(_IFA_LOCAL) or fields[_IFA_ADDRESS]
            label = _text(fields.get(_IFA_LABEL, b""))
            found.append(Address(IPv4Interface((local, length)), index, label))
    return found


def _address(index: int, address: IPv4Address) -> bytes:
    header = _ADDRESS.pack(socket.AF_INET, 32, 0, _SCOPE_UNIVERSE, index)
    return header + attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)


def _link(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, 0, index, flags, change)


def _route(destination: IPv4Network, scope: int, flags: int) -> bytes:
    header = _ROUTE.pack(
        socket.AF_INET,
        destination.prefixlen,
        0,
        0,
        _RT_TABLE_MAIN,
        _RTPROT_STATIC,
        scope,
        _RTN_UNICAST,
        flags,
    )
    if destination.prefixlen == 0:
        return header
    return header + attribute(_RTA_DST, destination.network_address.packed)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
