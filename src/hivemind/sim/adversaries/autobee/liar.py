"""What those who lie to the shared store have at hand: their key, and a second self that writes other things."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.hosts.autobee.keeper import Keeper


class Liar(Adversary):
    twin: Keeper
    """With the same key, and an empty log. This and `everybody` are set before `begin`."""
    everybody: Sequence[str]

    def others(self) -> list[str]:
        return [node for node in self.everybody if node != self.key.public]
