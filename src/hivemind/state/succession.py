"""How one revision follows another where both need the same port of a node.

A replica in the node's own network holds its ports itself: as long as it runs nobody else can have them there, not even
the revision that is to replace it. So it goes first, whatever the order says."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.model.app import App, AppSpec
from hivemind.state.state import State


def succeeding(state: State, app: App) -> AppSpec:
    """The spec of the revision that shall run, stop-first if it has to be."""
    spec = state.revision(app.id, app.revision).spec
    if not spec.ports or spec.order == "stop-first":
        return spec
    for number in sorted(state.revisions_in_use(app.id) - {app.revision}):
        before = state.revision(app.id, number).spec
        clash = before.network.mode == "host" and set(before.node_ports) & set(spec.node_ports)
        if clash and any(a.live and a.revision == number for a in state.allocations_of(app.id)):
            return replace(spec, update=replace(spec.update, order="stop-first"))
    return spec
