"""Where healthy replicas answer: published ports and names, derived from the shared store's view.

Level-triggered: every cycle computes the whole table and zone and hands them to the drivers, which change only
what differs. A cycle runs when an allocation's observation or the agreed state changes, never by a clock; the
first change is served at once, those that come in a crowd behind it together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from hivemind.drivers.network.contract import Backend, Network, Published
from hivemind.errors import HivemindError
from hivemind.model.allocation import Allocation, AllocationStatus
from hivemind.model.app import App, AppSpec
from hivemind.model.base import decode
from hivemind.protocols.dns.zone import Entry, Zone
from hivemind.state.state import State
from hivemind.store.contract import Entry as StoreEntry
from hivemind.store.contract import Store

log = logging.getLogger(__name__)

_PREFIX = "allocation/"
_PAUSE = 0.02
"""Seconds between two cycles: each works through all replicas, so a hundred starting at once must not each cause
one. Names and ports may be behind by so much, a fifth of what is promised."""


def status_key(allocation: str) -> str:
    """Where the store keeps a node's observation of an allocation."""
    return _PREFIX + allocation


class Replica(msgspec.Struct, frozen=True):
    """A live allocation with an address, the spec it was made from, and what its node sees of it."""

    allocation: Allocation
    spec: AppSpec
    status: AllocationStatus


class Endpoints:
    """`network_of` tells which network carries the published ports of an app."""

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
        self._statuses: dict[str, AllocationStatus] = {}
        self._dirty = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._hidden: set[str] = set()
        self._names: list[Entry] = []
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
        self._observe(self._store.range(_PREFIX))
        undo = self._store.subscribe(_PREFIX, self._observe)
        try:
            while True:
                await self._dirty.wait()
                self._dirty.clear()
                waiters, self._waiters = self._waiters, []
                await self._cycle()
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(None)
                await asyncio.sleep(_PAUSE)
        finally:
            undo()

    def _observe(self, entries: Iterable[StoreEntry]) -> None:
        for entry in entries:
            id = entry.key.removeprefix(_PREFIX)
            if entry.value is None:
                self._statuses.pop(id, None)
            else:
                self._statuses[id] = decode(entry.value, AllocationStatus)
        self._dirty.set()

    async def _cycle(self) -> None:
        tables: dict[str, dict[Published, tuple[Backend, ...]]] = {name: {} for name in self._networks}
        names: list[Entry] = []
        found = self._replicas()
        for app in self._state.apps.values():
            if app.deleted:
                continue
            spec = self._state.revision(app.id, app.revision).spec
            replicas = found.get(app.id, [])
            network = self._network_of(spec)
            self._networks[network.name] = network
            if not app.stopped or replicas:
                tables.setdefault(network.name, {}).update(_published(spec, replicas))
            names += _named(app, spec, replicas)
        if names != self._names:
            self._set_zone(Zone.build(names))
            self._names = names
        failures: dict[Published, str] = {}
        for name, table in tables.items():
            try:
                failures |= await self._networks[name].publish(table)
            except HivemindError as error:
                log.error("published ports could not be changed: %s", error)
        self.failures = failures

    def _replicas(self) -> dict[str, list[Replica]]:
        """App id -> its replicas, by slot and attempt (both, while one replaces the other).

        Those told to stop are not ready any more, whatever their last observation says."""
        found: dict[str, list[Replica]] = {}
        for id, status in self._statuses.items():
            allocation = self._state.allocations.get(id)
            if allocation is None or not allocation.live or not status.ip:
                continue
            if id in self._hidden and status.ready:
                status = replace(status, ready=False)
            spec = self._state.spec_of(allocation)
            found.setdefault(allocation.app, []).append(Replica(allocation, spec, status))
        for replicas in found.values():
            replicas.sort(key=lambda r: (r.allocation.slot, r.allocation.attempt))
        return found


def _published(spec: AppSpec, replicas: Sequence[Replica]) -> dict[Published, tuple[Backend, ...]]:
    """Each replica answers at the container port of its own revision, which may differ from the newest one's."""
    table: dict[Published, tuple[Backend, ...]] = {
        Published(port.protocol, port.host): () for port in spec.ports if port.host
    }
    for replica in replicas:
        if not replica.status.ready:
            continue
        for port in replica.spec.ports:
            if port.host:
                inside = replica.status.ports.get(f"{port.container}/{port.protocol}", port.container)
                key = Published(port.protocol, port.host)
                table[key] = (*table.get(key, ()), (replica.status.ip, inside))
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
            slot=replica.allocation.slot,
            ip=replica.status.ip,
            ports=_named_ports(replica),
            ready=replica.status.ready,
        )
        for replica in replicas
    ]


def _named_ports(replica: Replica) -> tuple[tuple[str, int], ...]:
    inside = [(f"{port.container}/{port.protocol}", port.container) for port in replica.spec.ports]
    return tuple((name, replica.status.ports.get(name, number)) for name, number in inside)
