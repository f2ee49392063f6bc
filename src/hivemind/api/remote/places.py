"""Which node answers: the one on which that is what is asked about."""

from __future__ import annotations

from hivemind.api.endpoint import Call, Place
from hivemind.api.views import find
from hivemind.model.allocation import Allocation
from hivemind.model.volume import Volume


async def of_allocation(call: Call) -> Place | None:
    """By its whole id, which means the same to every node. Raises `NotFound`, `Invalid`."""
    found: Allocation = await find(call.backend, "Allocation", call.project, call.params["name"])
    return Place(found.node, {**call.params, "name": found.id}) if found.node else None


async def of_volume(call: Call) -> Place | None:
    """The node that keeps it. Raises `NotFound`, `Invalid`."""
    found: Volume = await find(call.backend, "Volume", call.project, call.params["name"])
    return Place(found.node, {**call.params, "name": found.name}) if found.node else None
