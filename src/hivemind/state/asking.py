"""What the scheduler is asked for a replica of an app."""

from __future__ import annotations

from hivemind.model.allocation import Allocation
from hivemind.scheduler.contract import Ask
from hivemind.state import volume_use, zones
from hivemind.state.state import State


def ask(state: State, allocation: Allocation, to: str = "") -> Ask:
    """`to`: id of the node to which it has to go; empty where there is a choice."""
    spec = state.spec_of(allocation)
    reserved = spec.reserved
    return Ask(
        id=allocation.id,
        app=allocation.app,
        cpus=reserved.cpus,
        memory=reserved.memory,
        gpus=reserved.gpus,
        host_ports=spec.node_ports,
        alone=spec.network.mode == "host",
        constraints=(*spec.constraints, f"node.id=={to}") if to else spec.constraints,
        runtime=spec.runtime,
        image=spec.image,
        placement=spec.placement,
        priority=spec.priority,
        volumes=volume_use.ties(state, allocation),
        near=zones.neighbours(state, allocation, sorted(spec.depends_on)) if spec.depends_on else (),
    )
