"""The network of a node that has no right to make one: every allocation shares the host's.

An allocation gets, for each port it declares, a free one of the node on 127.0.0.1; two never get the same.
Published ports are served by this process: a TCP proxy and a UDP forwarder, so unlike on the routed network
they pause while the daemon is down.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Literal

from hivemind.drivers.network.contract import Attachment, Backend, Published
from hivemind.drivers.network.holding import bind
from hivemind.drivers.network.proxied import ProxiedPorts
from hivemind.drivers.network.records import Record, Records, check_allocation, port_number
from hivemind.errors import Invalid, Unavailable

_LOOPBACK = "127.0.0.1"
_FIRST, _LAST = 20000, 32000
"""Below what the kernel gives to outgoing connections, so that none of those takes a port meanwhile."""


class HostNetwork:
    """`bind` is the address on which published ports listen."""

    name = "host"

    def __init__(self, state_dir: Path, *, bind: str = _LOOPBACK) -> None:
        self.dns_address = ""
        self._bind = bind
        self._records = Records(state_dir / "attachments")
        self._attached: dict[str, Attachment] = {}
        self._ports = ProxiedPorts(bind)
        self._opened = False

    async def open(self) -> None:
        try:
            socket.inet_aton(self._bind)
        except OSError:
            raise Invalid(
                f"{self._bind!r} is not an IPv4 address to publish ports on",
                hint="Use 127.0.0.1, or an address of this machine.",
            ) from None
        self._attached = {name: record.attachment for name, record in self._records.load().items()}
        self._opened = True

    async def close(self) -> None:
        self._ports.close()
        self._opened = False

    async def attach(self, allocation: str, ports: Iterable[str]) -> Attachment:
        self._check_open()
        check_allocation(allocation)
        declared = list(ports)
        for port in declared:
            port_number(port)
        known = self._attached.get(allocation)
        had = known.ports if known else {}
        if known is None or had.keys() != set(declared):
            given: dict[str, int] = {}
            for port in declared:
                given[port] = had.get(port) or self._free(port, set(given.values()))
            known = Attachment(allocation=allocation, ip=_LOOPBACK, ports=given)
            self._records.save(Record(attachment=known))
            self._attached[allocation] = known
        return known

    async def detach(self, allocation: str) -> None:
        self._check_open()
        if self._attached.pop(allocation, None):
            self._records.remove(allocation)

    def attachments(self) -> Mapping[str, Attachment]:
        return dict(self._attached)

    async def unreachable(self, allocation: str) -> tuple[str, ...]:
        return ()

    async def publish(self, table: Mapping[Published, tuple[Backend, ...]]) -> Mapping[Published, str]:
        self._check_open()
        return await self._ports.publish(table)

    async def prune(self, keep: set[str]) -> None:
        for allocation in self._attached.keys() - keep:
            await self.detach(allocation)

    async def destroy(self) -> None:
        await self.prune(set())
        self._records.destroy()
        await self.close()

    def _free(self, port: str, besides: set[int]) -> int:
        """A port that no allocation has and nobody is bound to, from a random place on."""
        taken = {number for known in self._attached.values() for number in known.ports.values()} | besides
        taken |= {published.port for published in self._ports}
        protocol: Literal["tcp", "udp"] = "tcp" if port.endswith("/tcp") else "udp"
        start = random.randrange(_FIRST, _LAST)
        for number in chain(range(start, _LAST), range(_FIRST, start)):
            if number in taken:
                continue
            try:
                bind(Published(protocol, number), _LOOPBACK).close()
            except OSError:
                continue  # Somebody else's.
            return number
        raise Unavailable(
            f"no port from {_FIRST} to {_LAST} is free on this machine", hint="Stop allocations on this node."
        )

    def _check_open(self) -> None:
        if not self._opened:
            raise Unavailable("the network is not open", hint="It opens when the daemon starts.")
