"""Where allocations go: pure, deterministic, and able to explain every decision."""

from __future__ import annotations

from hivemind.scheduler.filters.constraints import parse_constraint
from hivemind.scheduler.scheduler import Scheduler, place

__all__ = ["Scheduler", "parse_constraint", "place"]
