"""A network that exists in memory only, for tests of what stands above it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from hivemind.drivers.network.contract import Attachment, Backend, Published
from hivemind.drivers.network.records import check_allocation, port_number
from hivemind.errors import Unavailable


class FakeNetwork:
    """Tests set `busy` (ports somebody else has, with the reason), `capacity` and `failed` (what each allocation
    could not reach), and read `published`."""

    name = "fake"

    def __init__(self, *, capacity: int = 250) -> None:
        self.dns_address = ""
        self.capacity = capacity
        self.busy: dict[Published, str] = {}
        self.published: dict[Published, tuple[Backend, ...]] = {}
        self.failed: dict[str, tuple[str, ...]] = {}
        self.opened = False
        self._attached: dict[str, Attachment] = {}
        self._given = 0

    async def open(self) -> None:
        self.opened = True

    async def close(self) -> None:
        self.opened = False

    async def attach(self, allocation: str, ports: Iterable[str]) -> Attachment:
        self._check_open()
        check_allocation(allocation)
        wanted = {port: port_number(port) for port in ports}
        known = self._attached.get(allocation)
        if known is None and len(self._attached) >= self.capacity:
            raise Unavailable(
                f"all {self.capacity} addresses are taken", hint="Stop allocations on this node."
            )
        if known is None or known.ports != wanted:
            ip = known.ip if known else self._next_address()
            known = Attachment(allocation=allocation, ip=ip, ports=wanted)
            self._attached[allocation] = known
        return known

    async def detach(self, allocation: str) -> None:
        self._check_open()
        self._attached.pop(allocation, None)

    def attachments(self) -> Mapping[str, Attachment]:
        return dict(self._attached)

    async def unreachable(self, allocation: str) -> tuple[str, ...]:
        self._check_open()
        return tuple(sorted(self.failed.get(allocation, ()))) if allocation in self._attached else ()

    async def publish(self, table: Mapping[Published, tuple[Backend, ...]]) -> Mapping[Published, str]:
        self._check_open()
        refused = {port: self.busy[port] for port in table if port in self.busy}
        self.published = {port: backends for port, backends in table.items() if port not in refused}
        return refused

    async def prune(self, keep: set[str]) -> None:
        self._check_open()
        self._attached = {name: known for name, known in self._attached.items() if name in keep}

    async def destroy(self) -> None:
        self._attached.clear()
        self.published.clear()
        self.opened = False

    def _next_address(self) -> str:
        """Never the address of an earlier allocation."""
        self._given += 1
        return str(IPv4Address("10.99.0.0") + self._given)

    def _check_open(self) -> None:
        if not self.opened:
            raise Unavailable("the network is not open", hint="It opens when the daemon starts.")
