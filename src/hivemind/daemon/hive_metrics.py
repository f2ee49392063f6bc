"""What /metrics shows of the hive: as this node sees it, and how its own part in it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from hivemind.daemon.hive.overview import agreed_of
from hivemind.ledger.contract import LedgerStatus
from hivemind.model.cluster import Reach
from hivemind.state.state import State
from hivemind.telemetry.metrics import Registry

_Series = dict[tuple[str, ...], float]


class Copy(Protocol):
    """This node's copy of the shared store."""

    @property
    def writers(self) -> tuple[str, ...]: ...

    @property
    def refused(self) -> Mapping[str, int]: ...

    def lag(self) -> int: ...


class Place(Protocol):
    """Where the node stands in its hive; `daemon.hive.cluster.Cluster` knows."""

    @property
    def store(self) -> Copy: ...

    def ledger_status(self) -> LedgerStatus: ...

    def reach(self, node: str) -> Reach: ...

    def dropped(self) -> Mapping[str, int]: ...


class HiveMetrics:
    """Adds its families to a registry; all is read when it is asked for."""

    def __init__(self, node: str, state: State, place: Place, registry: Registry) -> None:
        self._node, self._state, self._place = node, state, place
        gauge, counter = registry.gauge, registry.counter
        gauge("hivemind_hive_nodes", "Nodes of the hive, by what was agreed about them.", ("state",)).ask(
            self._nodes
        )
        gauge("hivemind_hive_reach", "Nodes of the hive, by how this one reaches them.", ("reach",)).ask(
            self._reach
        )
        gauge("hivemind_hive_expelled", "Nodes that were expelled.").labels().ask(
            lambda: float(len(state.expulsions))
        )
        for name, text, value in _LEDGER:
            gauge(f"hivemind_ledger_{name}", text).ask(self._of_ledger(value))
        gauge("hivemind_ledger_primary", "1 where the primary of the view is this node.").labels().ask(
            lambda: float(place.ledger_status().primary == node)
        )
        counter(
            "hivemind_pbft_dropped_total", "Messages of agreement that were dropped, by why.", ("reason",)
        ).ask(lambda: _by_key(place.ledger_status().dropped))
        counter(
            "hivemind_transport_dropped_total",
            "Messages and datagrams that were dropped, by why.",
            ("reason",),
        ).ask(lambda: _by_key(place.dropped()))
        gauge("hivemind_store_writers", "Nodes whose entries the shared store shows.").labels().ask(
            lambda: float(len(place.store.writers))
        )
        gauge(
            "hivemind_store_lag", "Entries that others have signed and that are not shown here."
        ).labels().ask(lambda: float(place.store.lag()))
        counter(
            "hivemind_store_refused_total",
            "What the shared store refused of other nodes, by why.",
            ("reason",),
        ).ask(lambda: _by_key(place.store.refused))

    def _nodes(self) -> _Series:
        return _by_key(Counter(agreed_of(node) for node in self._state.nodes.values()))

    def _reach(self) -> _Series:
        others = (id for id in self._state.nodes if id != self._node)
        return _by_key(Counter(str(self._place.reach(id)) for id in others))

    def _of_ledger(self, value: Callable[[LedgerStatus], float]) -> Callable[[], _Series]:
        return lambda: {(): float(value(self._place.ledger_status()))}


_LEDGER: tuple[tuple[str, str, Callable[[LedgerStatus], float]], ...] = (
    ("epoch", "Number of the set of voters that decides.", lambda s: s.epoch),
    ("voters", "How many decide; 0 where a node is alone.", lambda s: len(s.voters)),
    ("view", "Number of the view within the epoch: rises with each change of the primary.", lambda s: s.view),
    ("lag", "Batches that were agreed and are not applied here yet.", lambda s: max(0, s.agreed - s.sequence)),
    ("checkpoint", "Number of the last batch that is certified.", lambda s: s.checkpoint),
    ("can_decide", "1 while enough voters are there for new decisions.", lambda s: s.can_decide),
)  # fmt: skip


def _by_key(counts: Mapping[str, int]) -> _Series:
    return {(key,): float(count) for key, count in sorted(counts.items())}
