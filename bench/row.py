"""One result of a benchmark, as tables and programs see it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TypedDict


class Row(TypedDict):
    """`ratio` is the number that `budget` speaks of; `peer` says what it was measured against."""

    name: str
    value: float
    unit: str
    peer: str
    ratio: float | None
    budget: str | None
    ok: bool


def at_least(name: str, value: float, unit: str, peer: str, ratio: float, floor: float) -> Row:
    """Good when the ratio reaches `floor`."""
    return _row(name, value, unit, peer, ratio, f">= {floor:g}x", ratio >= floor)


def at_most(name: str, value: float, unit: str, peer: str, ratio: float, ceiling: float) -> Row:
    """Good when the ratio stays below `ceiling`."""
    return _row(name, value, unit, peer, ratio, f"<= {ceiling:g}x", ratio <= ceiling)


def within(name: str, value: float, unit: str, peer: str, ratio: float | None, limit: float) -> Row:
    """Good when the value itself, in its unit, stays below `limit`."""
    return _row(name, value, unit, peer, ratio, f"<= {limit:g} {unit}", value <= limit)


def told(name: str, value: float, unit: str, peer: str, ratio: float | None) -> Row:
    """Without a budget: told because one wants to know."""
    return _row(name, value, unit, peer, ratio, None, True)


def _row(
    name: str, value: float, unit: str, peer: str, ratio: float | None, budget: str | None, ok: bool
) -> Row:
    return Row(
        name=name,
        value=_short(value),
        unit=unit,
        peer=peer,
        ratio=None if ratio is None else _short(ratio),
        budget=budget,
        ok=ok,
    )


def _short(number: float) -> float:
    """Three digits that mean something."""
    return float(f"{number:.3g}")


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
