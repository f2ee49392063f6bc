"""What /metrics shows of a node. Everything is read when it is asked for; nothing is counted twice, also over all nodes
of a hive: each shows what is its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hivemind.api.backend import Info
from hivemind.daemon import capacity
from hivemind.daemon.hive_metrics import HiveMetrics, Place
from hivemind.daemon.volume_metrics import VolumeMetrics
from hivemind.drivers.dns.server import NameServer
from hivemind.model.allocation import AllocationStatus, Phase
from hivemind.model.base import decode
from hivemind.state.state import State
from hivemind.store.contract import Store
from hivemind.telemetry.metrics import Registry


class NodeMetrics:
    def __init__(self, state: State, store: Store, names: NameServer, info: Info, place: Place) -> None:
        self._node = info.node
        self._state = state
        self._store = store
        self.registry = Registry()
        gauge = self.registry.gauge
        gauge("hivemind_info", "What runs here; always 1.", ("version", "node", "runtime", "network")).labels(
            info.version, info.node_name, info.runtime, info.network
        ).set(1)
        gauge("hivemind_start_time_seconds", "When this daemon started.").labels().set(info.started / 1000)
        gauge("hivemind_ledger_sequence", "Number of the last agreed batch.").labels().ask(
            lambda: float(state.sequence)
        )
        gauge("hivemind_apps", "Apps of the hive by project.", ("project",)).ask(self._apps)
        gauge("hivemind_allocations", "Allocations of this node by agreed state.", ("state",)).ask(
            self._allocations
        )
        gauge("hivemind_unplaced", "Allocations of the hive that no node was found for.").labels().ask(
            lambda: float(len(state.pending))
        )
        gauge("hivemind_replicas", "Replicas of this node as it observes them, by phase.", ("phase",)).ask(
            self._phases
        )
        gauge(
            "hivemind_container_restarts",
            "Restarts of each live replica of this node.",
            ("project", "app", "slot"),
        ).ask(self._restarts)
        VolumeMetrics(info.node, state, store, self.registry)
        HiveMetrics(info.node, state, place, self.registry)
        for kind in ("queries", "forwarded", "failures"):
            self.registry.counter(f"hivemind_dns_{kind}_total", f"Name server: {kind} since the start.").ask(
                _reader(names, kind)
            )
        gauge("hivemind_memory_used_bytes", "Memory in use on this machine.").labels().ask(
            lambda: float(capacity.memory_used())
        )

    def _apps(self) -> dict[tuple[str, ...], float]:
        found = Counter(app.project for app in self._state.apps.values() if not app.deleted)
        return {(project,): float(count) for project, count in sorted(found.items())}

    def _allocations(self) -> dict[tuple[str, ...], float]:
        found = Counter(a.state.name.lower() for a in self._state.allocations_on(self._node))
        return {(state,): float(count) for state, count in sorted(found.items())}

    def _statuses(self) -> dict[str, AllocationStatus]:
        return {
            entry.key.removeprefix("allocation/"): decode(entry.value, AllocationStatus)
            for entry in self._store.range("allocation/")
            if entry.value and entry.writer == self._node
        }

    def _phases(self) -> dict[tuple[str, ...], float]:
        found = Counter(str(status.phase) for status in self._statuses().values())
        return {(str(phase),): float(found.get(str(phase), 0)) for phase in Phase}

    def _restarts(self) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for id, status in self._statuses().items():
            allocation = self._state.allocations.get(id)
            if allocation and allocation.live:
                key = (allocation.project, allocation.app_name, str(allocation.slot))
                found[key] = float(status.restarts)
        return found


def _reader(names: NameServer, attribute: str) -> Callable[[], dict[tuple[str, ...], float]]:
    return lambda: {(): float(getattr(names, attribute))}
