"""Adaptors: what makes a world of each protocol. One line adds one."""

from __future__ import annotations

from typing import Final

from hivemind.sim.hosts.pbft.scenario import PbftScenario
from hivemind.sim.hosts.swim.scenario import SwimScenario
from hivemind.sim.scenario import Scenario

SCENARIOS: Final[dict[str, type[Scenario]]] = {
    PbftScenario.name: PbftScenario,
    SwimScenario.name: SwimScenario,
}
