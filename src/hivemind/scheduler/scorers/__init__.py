"""Every scorer. The node with the highest sum of weighted scores wins."""

from __future__ import annotations

from hivemind.scheduler.scorers import binpack, image, latency, spread
from hivemind.scheduler.scorers.contract import Scorer

SCORERS: dict[str, Scorer] = {
    s.name: s for s in (spread.SPREAD, spread.ROOM, binpack.SCORER, image.SCORER, latency.SCORER)
}

__all__ = ["SCORERS", "Scorer"]
