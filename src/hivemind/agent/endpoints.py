"""Where healthy replicas answer: published ports and names, derived from the shared store's view.

Level-triggered: every cycle computes the whole table and zone and hands them to the drivers, which change only
what differs. A cycle runs when an allocation's observation or the agreed state changes, never by a clock; the
first change is served at once, those that come in a crowd behind it together. Only what failed is tried again
after a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from hivemind.agent.relays import Place, Relays, Target
from hivemind.drivers.network.contract import Backend, Network, Published
from hivemind.errors import HivemindError
from hivemind.model.allocation import Allocation, AllocationStatus, Desired
from hivemind.model.app import App, AppSpec
from hivemind.model.base import UNREADABLE, decode
from hivemind.protocols.dns.zone import Entry, Zone
from hivemind.state.state import State
from hivemind.store.contract import Entry as StoreEntry
from hivemind.store.contract import Store

log = logging.getLogger(__name__)

_PREFIX = "allocation/"
_LOOPBACK = "127.0.0.1"
_PAUSE = 0.02
"""Seconds between two cycles: each works through all replicas, so a hundred starting at once must not each cause
one. Names and ports may be behind by so much, a fifth of what is promised."""
_RETRY = 5.0
"""Seconds until what could not be published is tried again."""


def status_key(allocation: str) -> str:
    """Where the store keeps a node's observation of an allocation."""
    return _PREFIX + allocation


class Replica(msgspec.Struct, frozen=True):
    """A live allocation with an address, the spec it was made from, and what its node sees of it."""

    allocation: Allocation
    spec: AppSpec
    status: AllocationStatus


class Endpoints:
    """`network_of` tells which of the `networks` carries the published ports of an app; `on_failures` is called
    when there are other failures than before; `relays` carry connections to other nodes."""

    def __init__(
        self,
        node: str,
        state: State,
        store: Store,
        network_of: Callable[[AppSpec], Network],
        set_zone: Callable[[Zone], None],
        *,
        networks: Iterable[Network],
        on_failures: Callable[[], None],
        relays: Relays,
    ) -> None:
        self._node = node
        self._state = state
        self._store = store
        self._network_of = network_of
        self._set_zone = set_zone
        self._networks = {network.name: network for network in networks}
        self._on_failures = on_failures
        self._relays = relays
        self._tables: dict[str, dict[Published, tuple[Backend, ...]]] = {}
        """What each network was told last."""
        self._seen: dict[str, tuple[str, AllocationStatus]] = {}
        """By allocation: who says so, and what."""
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
                if not await self._succeeds():
                    asyncio.get_running_loop().call_later(_RETRY, self.changed)
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(None)
                await asyncio.sleep(_PAUSE)
        finally:
            undo()

    async def _succeeds(self) -> bool:
        """One cycle, which never ends this task: whoever withdraws an endpoint waits for it."""
        try:
            return await self._cycle()
        except Exception:
            log.exception("names and published ports could not be computed")
            return False

    def _observe(self, entries: Iterable[StoreEntry]) -> None:
        for entry in entries:
            id = entry.key.removeprefix(_PREFIX)
            known = self._state.allocations.get(id)
            if known is not None and known.node not in ("", entry.writer):
                continue  # who writes over what its own node says hides nothing
            status = None if entry.value is None else _understood(entry)
            if status is None:
                self._seen.pop(id, None)
            else:
                self._seen[id] = (entry.writer, status)
        self._dirty.set()

    async def _cycle(self) -> bool:
        """Whether all is as it shall be."""
        tables: dict[str, dict[Published, tuple[Backend, ...]]] = {name: {} for name in self._networks}
        names: list[Entry] = []
        relayed: dict[Place, tuple[Network, tuple[Target, ...]]] = {}
        found, far = self._replicas()
        for app in self._state.apps.values():
            if app.deleted:
                continue
            spec = self._state.revision(app.id, app.revision).spec
            replicas = found.get(app.id, [])
            if not app.stopped or replicas:
                carrier = self._carrier(spec, replicas)
                reached = [r for r in replicas if self._network_of(r.spec) is carrier]
                table = _published(spec, reached)
                tables[carrier.name].update(table)
                for port, targets in _far_targets(far.get(app.id, [])).items():
                    if table.get(port) == ():
                        relayed[carrier.dns_address or _LOOPBACK, port] = (carrier, targets)
            names += _named(app, spec, replicas)
        backends = await self._relays.keep({place: targets for place, (_, targets) in relayed.items()})
        for place, backend in backends.items():
            tables[relayed[place][0].name][place[1]] = (backend,)
        if names != self._names:
            self._set_zone(Zone.build(names))
            self._names = names
        return await self._publish(tables)

    def _carrier(self, spec: AppSpec, replicas: Sequence[Replica]) -> Network:
        """The network of the newest revision; but while only replicas on another one are ready, that one."""
        wanted = self._network_of(spec)
        serving = [self._network_of(replica.spec) for replica in replicas if replica.status.ready]
        return serving[0] if serving and wanted not in serving else wanted

    async def _publish(self, tables: dict[str, dict[Published, tuple[Backend, ...]]]) -> bool:
        """A port that moves is let go by one network before the other takes it."""

        def takes_only(name: str) -> bool:
            return self._tables.get(name, {}).keys() <= tables[name].keys()

        failures: dict[Published, str] = {}
        broken = False
        for name in sorted(tables, key=takes_only):
            try:
                failures |= await self._networks[name].publish(tables[name])
                self._tables[name] = tables[name]
            except (HivemindError, OSError) as error:
                log.error("published ports could not be changed: %s", error)
                failures |= dict.fromkeys(tables[name], str(error))
                broken = True
        if failures != self.failures:
            self.failures = failures
            self._on_failures()
        return not (failures or broken)

    def _replicas(self) -> tuple[dict[str, list[Replica]], dict[str, list[Replica]]]:
        """App id -> its replicas, by slot and attempt (both, while one replaces the other); those of this node, and
        those that are ready on others.

        Those told to stop are not ready any more, whatever their last observation says. Only the word of a replica's
        own node counts, as long as that is there."""
        found: dict[str, list[Replica]] = {}
        far: dict[str, list[Replica]] = {}
        for id, (writer, status) in self._seen.items():
            allocation = self._state.allocations.get(id)
            if allocation is None or allocation.for_job or not allocation.live or not status.ip:
                continue
            if writer != allocation.node:
                continue
            if writer != self._node:
                if status.ready and not self._is_away(writer) and allocation.desired is Desired.RUN:
                    far.setdefault(allocation.app, []).append(
                        Replica(allocation, self._state.spec_of(allocation), status)
                    )
                continue
            if id in self._hidden and status.ready:
                status = replace(status, ready=False)
            spec = self._state.spec_of(allocation)
            found.setdefault(allocation.app, []).append(Replica(allocation, spec, status))
        for replicas in found.values():
            replicas.sort(key=lambda r: (r.allocation.slot, r.allocation.attempt))
        return found, far

    def _is_away(self, node: str) -> bool:
        record = self._state.nodes.get(node)
        return record is None or record.away


def _understood(entry: StoreEntry) -> AllocationStatus | None:
    """What a node wrote there. Another version of the program, or a liar, may write what nobody can read."""
    try:
        return decode(entry.value or b"", AllocationStatus)
    except (*UNREADABLE, ValueError) as error:
        log.debug("what node %s says of %s cannot be read: %s", entry.writer[:12], entry.key, error)
        return None


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


def _far_targets(replicas: Sequence[Replica]) -> dict[Published, tuple[Target, ...]]:
    table: dict[Published, tuple[Target, ...]] = {}
    for replica in replicas:
        for port in replica.spec.ports:
            if port.host and port.protocol == "tcp":
                key, allocation = Published("tcp", port.host), replica.allocation
                target = Target(allocation.node, allocation.id, port.container)
                table[key] = tuple(sorted((*table.get(key, ()), target)))
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
