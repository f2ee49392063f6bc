"""Every scorer. The node with the highest sum of weighted scores wins."""

from __future__ import annotations

from hivemind.scheduler.scorers import binpack, image, near, spread, zone
from hivemind.scheduler.scorers.contract import Scorer

SCORERS: dict[str, Scorer] = {
    s.name: s for s in (spread.SPREAD, spread.ROOM, binpack.SCORER, zone.SCORER, near.SCORER, image.SCORER)
}

__all__ = ["SCORERS", "Scorer"]
