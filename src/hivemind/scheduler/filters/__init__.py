"""Every placement rule, in the order in which they are asked. The first that refuses gives the reason."""

from __future__ import annotations

from hivemind.scheduler.filters import (
    constraints,
    drained,
    executors,
    platform,
    ports,
    resources,
    slots,
    volumes,
)
from hivemind.scheduler.filters.contract import Filter, Reason

FILTERS: dict[str, Filter] = {
    f.name: f
    for f in (
        drained.FILTER,
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
