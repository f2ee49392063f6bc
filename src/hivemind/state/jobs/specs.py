"""What tasks need of a node, as state knows it: found once for each task of a definition, and remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hivemind.jobs.order import spec_of
from hivemind.jobs.plan import Node, Plan
from hivemind.model.allocation import Allocation
from hivemind.model.app import AppSpec
from hivemind.model.run import Run, task_key
from hivemind.state.jobs.lane import Lane, lane_of

if TYPE_CHECKING:
    from hivemind.state.state import State


def plan_of(state: State, run: Run) -> Plan:
    return Plan.of(state.definition_of(run).spec)


def node_of(state: State, run: Run, path: str) -> Node:
    """The task of the definition that a task run is of."""
    return plan_of(state, run).node(path)


def attempt_lane(state: State, allocation: Allocation) -> Lane:
    """What an attempt was placed by."""
    return lane_of(state.task_runs[task_key(allocation.run, allocation.path)].lane)


def attempt_spec(state: State, allocation: Allocation) -> AppSpec:
    run = state.runs[allocation.run]
    return task_spec(state, run, allocation.path, attempt_lane(state, allocation).image)


def task_spec(state: State, run: Run, path: str, image: str) -> AppSpec:
    node = node_of(state, run, path)
    known = state.work.specs.setdefault((run.job, run.definition), {})
    found = known.get((node.path, image))
    if found is None:
        found = known[node.path, image] = spec_of(node.task, image)
    return found
