"""How one revision follows another where both need the same port of a node.

A replica in the node's own network holds its ports itself: as long as it runs nobody else can have them there, not even
the revision that is to replace it. So it goes first, whatever the order says."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from hivemind.model.allocation import Allocation
from hivemind.model.app import App, AppSpec
from hivemind.state.state import State


def succeeding(state: State, app: App, allocations: Sequence[Allocation]) -> AppSpec:
    """The spec of the revision that shall run, stop-first if it has to be."""
    spec = state.revision(app.id, app.revision).spec
    if not spec.ports or spec.order == "stop-first":
        return spec
    others = {a.revision for a in allocations if a.live and a.revision != app.revision}
    for number in sorted(others):
        before = state.revision(app.id, number).spec
        if before.network.mode == "host" and set(before.node_ports) & set(spec.node_ports):
            return replace(spec, update=replace(spec.update, order="stop-first"))
    return spec
