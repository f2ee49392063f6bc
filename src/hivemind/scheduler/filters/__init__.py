"""Every placement rule, in the order in which they are asked. The first that refuses gives the reason."""

from __future__ import annotations

from hivemind.scheduler.filters import (
    constraints,
    executors,
    platform,
    ports,
    presence,
    resources,
    slots,
    volumes,
)
from hivemind.scheduler.filters.contract import Filter, Reason

FILTERS: dict[str, Filter] = {
    f.name: f
    for f in (
        presence.FILTER,
        platform.FILTER,
        volumes.FILTER,
        constraints.FILTER,
        executors.FILTER,
        ports.FILTER,
        slots.FILTER,
        resources.FILTER,
    )
}

__all__ = ["FILTERS", "Filter", "Reason"]
