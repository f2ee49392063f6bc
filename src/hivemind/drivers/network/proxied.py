"""Published ports served by this process, where nothing better is to be had: they pause while the daemon is down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from hivemind.drivers.network.contract import Backend, Published
from hivemind.drivers.network.holding import reason
from hivemind.drivers.network.proxy import Forwarder, Proxy


class ProxiedPorts:
    """`address`: where they answer, 0.0.0.0 for everywhere."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._served: dict[Published, Proxy | Forwarder] = {}
        self._publishing = asyncio.Lock()

    def __iter__(self) -> Iterator[Published]:
        return iter(self._served)

    async def publish(self, table: Mapping[Published, tuple[Backend, ...]]) -> Mapping[Published, str]:
        """As `Network.publish`."""
        async with self._publishing:
            for port in self._served.keys() - table.keys():
                self._served.pop(port).close()
            refused = {}
            for port, backends in table.items():
                served = self._served.get(port)
                if served is None:
                    served = (Proxy if port.protocol == "tcp" else Forwarder)(port, self._address)
                try:
                    await served.update(backends)
                except OSError as error:
                    served.close()
                    self._served.pop(port, None)
                    refused[port] = reason(port, error)
                else:
                    self._served[port] = served
            return refused

    def close(self) -> None:
        for served in self._served.values():
            served.close()
        self._served.clear()
