"""Where healthy replicas answer: published ports and names, derived from the shared store's view.

Level-triggered: every cycle computes the whole table and zone and hands them to the drivers, which change only
what differs. A cycle runs when an allocation's observation or the agreed state changes, never by a clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from hivemind.drivers.network.contract import Backend, Network, Published
from hivemind.errors import HivemindError
from hivemind.model.allocation import AllocationStatus
from hivemind.model.app import App, AppSpec
from hivemind.model.base import decode
from hivemind.protocols.dns.zone import Entry, Zone
from hivemind.state.state import State
from hivemind.store.contract import Store

log = logging.getLogger(__name__)

Replica = tuple[int, int, AllocationStatus]
"""Slot, attempt, and what its node sees of it."""


def status_key(allocation: str) -> str:
    return f"allocation/{allocation}"


class Endpoints:
    """`network_of` tells which network carries the published ports of an app of a runtime."""

    def __init__(
        self,
        state: State,
        store: Store,
        network_of: Callable[[AppSpec], Network],
        set_zone: Callable[[Zone], None],
    ) -> None:
        self._state = state
        self._store = store
        self._network_of = network_of
        self._set_zone = set_zone
        self._networks: dict[str, Network] = {}
        self._dirty = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._hidden: set[str] = set()
        self.failures: Mapping[Published, str] = {}
        """Ports that could not be published, with the reason."""

    def changed(self) -> None:
        self._dirty.set()

    async def withdraw(self, allocation: str) -> None:
        """Returns once nobody is sent to the allocation any more."""
        self._hidden.add(allocation)
        await self.settled()

    def forget(self, allocation: str) -> None:
        self._hidden.discard(allocation)

    async def settled(self) -> None:
        """Returns after a whole cycle that began after this call."""
        done = asyncio.get_running_loop().create_future()
        self._waiters.append(done)
        self._dirty.set()
        await done

    def failure_of(self, spec: AppSpec) -> str:
        """Why a port of this app is not published; empty when all are."""
        wanted = [Published(p.protocol, p.host) for p in spec.ports if p.host]
        return next((self.failures[port] for port in wanted if port in self.failures), "")

    async def run(self) -> None:
        undo = self._store.subscribe("allocation/", lambda entries: self._dirty.set())
        try:
            while True:
                await self._dirty.wait()
                self._dirty.clear()
                waiters, self._waiters = self._waiters, []
                await self._cycle()
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(None)
        finally:
            undo()

    async def _cycle(self) -> None:
        tables: dict[str, dict[Published, tuple[Backend, ...]]] = {name: {} for name in self._networks}
        names: list[Entry] = []
        found = self._replicas()
        for app in self._state.apps.values():
            if app.deleted:
                continue
            spec = self._state.revision(app.id, app.revision).spec
            network = self._network_of(spec)
            self._networks[network.name] = network
            replicas = found.get(app.id, [])
            tables.setdefault(network.name, {}).update(_published(spec, replicas))
            names += _named(app, spec, replicas)
        self._set_zone(Zone.build(names))
        failures: dict[Published, str] = {}
        for name, table in tables.items():
            try:
                failures |= await self._networks[name].publish(table)
            except HivemindError as error:
                log.error("published ports could not be changed: %s", error)
        self.failures = failures

    def _replicas(self) -> dict[str, list[Replica]]:
        """App id -> its replicas with an address, by slot and attempt (both, while one replaces the other).

        Those told to stop are not ready any more, whatever their last observation says."""
        found: dict[str, list[Replica]] = {}
        for entry in self._store.range("allocation/"):
            id = entry.key.removeprefix("allocation/")
            allocation = self._state.allocations.get(id)
            if allocation is None or not allocation.live or entry.value is None:
                continue
            status = decode(entry.value, AllocationStatus)
            if not status.ip:
                continue
            if id in self._hidden and status.ready:
                status = replace(status, ready=False)
            found.setdefault(allocation.app, []).append((allocation.slot, allocation.attempt, status))
        for replicas in found.values():
            replicas.sort(key=lambda replica: replica[:2])
        return found


def _published(spec: AppSpec, replicas: Sequence[Replica]) -> dict[Published, tuple[Backend, ...]]:
    table = {}
    for port in spec.ports:
        if port.host:
            inside = f"{port.container}/{port.protocol}"
            backends = tuple(
                (status.ip, status.ports.get(inside, port.container))
                for *_, status in replicas
                if status.ready
            )
            table[Published(port.protocol, port.host)] = backends
    return table


def _named(app: App, spec: AppSpec, replicas: Sequence[Replica]) -> list[Entry]:
    """One entry without an address keeps the name known while there is no replica."""
    if not replicas:
        return [Entry(project=app.project, app=app.name, service=spec.service)]
    return [
        Entry(
            project=app.project,
            app=app.name,
            service=spec.service,
            slot=slot,
            ip=status.ip,
            ports=_named_ports(spec, status),
            ready=status.ready,
        )
        for slot, _, status in replicas
    ]


def _named_ports(spec: AppSpec, status: AllocationStatus) -> tuple[tuple[str, int], ...]:
    inside = [f"{port.container}/{port.protocol}" for port in spec.ports]
    return tuple((name, status.ports.get(name, int(name.split("/")[0]))) for name in inside)
