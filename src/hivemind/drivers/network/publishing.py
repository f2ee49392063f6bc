"""The published ports of a routed network: each held by a socket, served by the firewall.

Works on the network's worker thread.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

from hivemind.drivers.network import conntrack, holding, rtnetlink
from hivemind.drivers.network.contract import Backend, Published
from hivemind.drivers.network.firewall import Firewall, Table
from hivemind.drivers.network.netlink import Netlink

_UDP = 17


class PublishedPorts:
    def __init__(self, firewall: Firewall, netlink: Netlink, address: IPv4Address) -> None:
        """`address`: where ports are published, 0.0.0.0 for everywhere."""
        self._address = str(address)
        self._firewall = firewall
        self._netlink = netlink
        self._held: dict[Published, socket.socket] = {}

    def publish(self, table: dict[Published, tuple[Backend, ...]]) -> dict[Published, str]:
        """As `Network.publish`. Raises NftError or OSError when the kernel refuses the whole change."""
        refused: dict[Published, str] = {}
        for port in table.keys() - self._held.keys():
            try:
                self._held[port] = holding.bind(port, self._address)
            except OSError as error:
                refused[port] = holding.reason(port, error)
        served = {port: backends for port, backends in table.items() if port not in refused}
        before = self._firewall.laid
        self._firewall.publish(served)
        for port in self._held.keys() - served.keys():
            self._held.pop(port).close()
        self._redirect_datagrams(before, served)
        return refused

    def close(self) -> None:
        """The rules stay and go on working; the ports are free for others to bind."""
        for held in self._held.values():
            held.close()
        self._held.clear()
        self._firewall.close()

    def _redirect_datagrams(self, before: Table | None, now: Table) -> None:
        """Ends the UDP flows through changed ports that lead to none of the present backends.

        `before` is None when only the kernel knows what was published; then every port counts as changed."""
        ports = now.keys() if before is None else now.keys() | before.keys()
        changed = {
            port.port: {(IPv4Address(ip), number) for ip, number in now.get(port, ())}
            for port in ports
            if port.protocol == "udp"
            and (before is None or set(before.get(port, ())) != set(now.get(port, ())) or port not in before)
        }
        if not changed:
            return
        own = {address.interface.ip for address in rtnetlink.addresses(self._netlink)}
        conntrack.forget(
            lambda flow: (
                flow.protocol == _UDP
                and flow.port in changed
                and (flow.destination in own or flow.destination.is_loopback)
                and (flow.answered_by, flow.answered_port) not in changed[flow.port]
            )
        )
