"""What state says about who decides, for the choice of an engine."""

from __future__ import annotations

from hivemind.model.hive import Engine, Epoch
from hivemind.state.state import State


def engine_of(state: State, node: str) -> Engine:
    """A node decides alone while it is the only one that there is."""
    hive = state.hive_record
    if hive is None or (hive.epoch.voters == (node,) and not (state.nodes.keys() - {node})):
        return "local"
    return "etcd" if hive.engine == "etcd" else "pbft"


def next_of(state: State) -> Epoch | None:
    """The epoch that is agreed and has not begun."""
    hive = state.hive_record
    return hive.next if hive else None


def lineage_of(state: State) -> int:
    hive = state.hive_record
    return hive.lineage if hive else 0


def name_of(state: State, node: str) -> str:
    """For people."""
    return state.nodes[node].name if node in state.nodes else node[:8]
