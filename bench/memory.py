"""How much memory processes hold, in bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

MB = 1_000_000


def resident(pids: Iterable[int]) -> int:
    """RSS: everything they touch, what they share counted once for each."""
    return sum(_rollup(pid).get("Rss", 0) for pid in pids)


def proportional(pids: Iterable[int]) -> int:
    """PSS: what is shared is divided among those who share it."""
    return sum(_rollup(pid).get("Pss", 0) for pid in pids)


def _rollup(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: int(size) * 1024 for name, size, _ in (line.replace(":", "").split() for line in lines)}
