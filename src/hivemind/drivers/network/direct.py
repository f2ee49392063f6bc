"""The node's own network, as it is: whoever is attached listens on the node itself, at the ports it declares.

Nothing is translated and nothing is published: a port is reached because the program listens there. Two programs
with the same port are kept apart by the scheduler, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from hivemind.drivers.network.contract import Attachment, Backend, Published
from hivemind.drivers.network.records import Record, Records, check_allocation, port_number


class DirectNetwork:
    """`name`: one for each that a node has. `address`: where the node, and containers elsewhere, reach its programs.
    `nameserver`: empty for those that ask as the host does."""

    def __init__(
        self,
        name: str,
        state_dir: Path,
        address: Callable[[], str],
        nameserver: Callable[[], str] = lambda: "",
    ) -> None:
        self.name = name
        self.dns_address = ""
        self._address = address
        self._nameserver = nameserver
        self._records = Records(state_dir / name)
        self._attached: dict[str, Attachment] = {}

    async def open(self) -> None:
        self._attached = {name: record.attachment for name, record in self._records.load().items()}

    async def close(self) -> None:
        self._attached = {}

    async def attach(self, allocation: str, ports: Iterable[str]) -> Attachment:
        check_allocation(allocation)
        wanted = Attachment(
            allocation=allocation,
            ip=self._address(),
            ports={port: port_number(port) for port in ports},
            nameserver=self._nameserver(),
        )
        if self._attached.get(allocation) != wanted:
            self._records.save(Record(attachment=wanted))
            self._attached[allocation] = wanted
        return wanted

    async def detach(self, allocation: str) -> None:
        if self._attached.pop(allocation, None):
            self._records.remove(allocation)

    def attachments(self) -> Mapping[str, Attachment]:
        return dict(self._attached)

    async def unreachable(self, allocation: str) -> tuple[str, ...]:
        return ()

    async def publish(self, table: Mapping[Published, tuple[Backend, ...]]) -> Mapping[Published, str]:
        """Its programs have their ports already; should one be taken, they say so themselves."""
        return {}

    async def prune(self, keep: set[str]) -> None:
        for allocation in self._attached.keys() - keep:
            await self.detach(allocation)

    async def destroy(self) -> None:
        self._records.destroy()
        self._attached = {}
