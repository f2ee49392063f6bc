"""What an allocation still waits for when its machine has just started: the apps that it depends on, as seen now.

What was agreed is from before: an app that was healthy then may not even run yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hivemind.agent.work.charge import Charge
from hivemind.model.allocation import Allocation, AllocationState, Phase
from hivemind.model.app import App, Condition
from hivemind.state.dependencies import first_unmet, holds

if TYPE_CHECKING:
    from hivemind.agent.agent import Agent


def awaited(agent: Agent, charge: Charge) -> str:
    """`waits for app db to be healthy`; empty when there is nothing to wait for."""

    def seen(app: App, condition: Condition) -> bool:
        if condition == "completed":
            return holds(agent.state, app, condition)
        return any(_fulfils(agent, a, condition) for a in agent.state.allocations_of(app.id))

    return first_unmet(agent.state, charge.allocation.project, charge.spec, seen)


def _fulfils(agent: Agent, allocation: Allocation, condition: Condition) -> bool:
    if allocation.state is AllocationState.COMPLETE:
        return True
    status = agent.last_status(allocation.id)
    if status is None or not allocation.live:
        return False
    if allocation.node == agent.node and status.boot != agent.boot:
        return False  # Said before the machine was started anew.
    return status.ready if condition == "healthy" else status.phase is Phase.RUNNING
