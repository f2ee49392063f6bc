"""One allocation's wire: a namespace, a veth pair, and routes that meet in the middle.

Inside, everything goes to an on-link gateway that no link carries, `169.254.1.1`; a permanent neighbour entry
leads there. Outside, the address is a route to the veth. Neither side ever has to ask by ARP, and nothing is
bridged, so packets between allocations pass the node's rules like all others.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from hivemind.drivers.network import netns, rtnetlink
from hivemind.drivers.network.netlink import Netlink
from hivemind.errors import Unsupported

_GATEWAY = IPv4Address("169.254.1.1")
_OUTER_MAC = bytes.fromhex("eeeeeeeeeeee")
_INNER = "eth0"


def connect(
    netlink: Netlink, pin: Path, link: str, *, address: IPv4Address, node: IPv4Address, mtu: int
) -> int:
    """Makes the namespace at `pin` and its wire; returns the index of `link`, the node's end.

    `node` is the node's own address, as which it speaks to the allocation. Raises OSError; the caller removes
    what is there by then."""
    netns.delete(pin)  # A file that an attempt cut off in the middle left.
    mac = b"\x02" + sha256(link.encode()).digest()[:5]
    inside = netns.create(pin, _furnish)
    try:
        peer = os.open(pin, os.O_RDONLY | os.O_CLOEXEC)
        try:
            netlink.transact(rtnetlink.add_veth(link, _OUTER_MAC, _INNER, mac, peer, mtu))
        finally:
            os.close(peer)
        loopback, inner = (rtnetlink.links(inside)[name].index for name in ("lo", _INNER))
        inside.transact(
            rtnetlink.set_up(loopback),
            rtnetlink.add_address(inner, address),
            rtnetlink.set_up(inner),
            rtnetlink.add_neighbour(inner, _GATEWAY, _OUTER_MAC),
            rtnetlink.add_route(IPv4Network(_GATEWAY), inner),
            rtnetlink.add_route(IPv4Network("0.0.0.0/0"), inner, gateway=_GATEWAY),
        )
    finally:
        inside.close()
    outer = socket.if_nametoindex(link)
    _silence_ipv6(link)
    # The node itself reaches published ports at 127.0.0.1; the firewall keeps containers off it.
    set_sysctl(f"ipv4/conf/{link}/route_localnet", "1")
    netlink.transact(
        rtnetlink.set_up(outer),
        rtnetlink.add_neighbour(outer, address, mac),
        rtnetlink.add_route(IPv4Network(address), outer, source=node),
    )
    return outer


def set_sysctl(key: str, value: str) -> None:
    """Of the namespace that the calling thread is in; `key` as below /proc/sys/net."""
    path = f"/proc/sys/net/{key}"
    with open(path, "rb", buffering=0) as known:
        if known.read().strip() == value.encode():
            return
    try:
        with open(path, "wb", buffering=0) as setting:
            setting.write(value.encode())
    except OSError as error:
        raise Unsupported(
            f"cannot set net.{key.replace('/', '.')}: {error.strerror}",
            hint="The daemon needs a writable /proc/sys; or set it yourself, or set network to host.",
        ) from error


def outer_mtu(links: Mapping[str, rtnetlink.Link], routes: Iterable[rtnetlink.Route]) -> int:
    """Of the link that leads out of the machine, so that no packet is too big on its way."""
    mtus = {link.index: link.mtu for link in links.values()}
    outward = [
        mtus[route.link] for route in routes if route.destination.prefixlen == 0 and route.link in mtus
    ]
    return min(outward, default=1500)


def _furnish() -> Netlink:
    """Runs inside a new namespace: no IPv6 on links to come (the loopback keeps `::1`)."""
    _silence_ipv6("default")
    return Netlink()


def _silence_ipv6(link: str) -> None:
    if os.path.exists(f"/proc/sys/net/ipv6/conf/{link}"):
        set_sysctl(f"ipv6/conf/{link}/disable_ipv6", "1")
