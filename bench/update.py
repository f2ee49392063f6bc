"""A rolling update of 10 replicas, beside Docker Swarm's: one at a time and five at a time, start-first.

Each new replica runs before its old one is told to stop, and nobody waits longer than the engine needs: no health
check, no pause between two replicas, no time of observation after them. Done is when the engine says that the update
is, and what runs is as many as were wished.
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from bench.home import home
from bench.node import APP, Node
from bench.peers import Docker
from bench.row import Row, median, told
from hivemind.model.app import AppManifest, AppSpec, Update

REPLICAS = 10
ROUNDS = 3
AT_ONCE = (1, 5)


def run() -> list[Row]:
    with home() as place:
        return measure(place)


def measure(place: Path) -> list[Row]:
    times: dict[tuple[str, int], list[float]] = defaultdict(list)
    with Docker(place / "swarm", swarm=True) as swarm, Node(place / "node") as node:
        node.deploy()
        node.scale(REPLICAS)
        swarm.scale(REPLICAS)
        version = 0
        for _ in range(ROUNDS):
            for at_once in AT_ONCE:
                version += 1
                times["swarm", at_once].append(_update_swarm(swarm, version, at_once))
                times["hivemind", at_once].append(_update(node, version, at_once))
    return [_row(at_once, times["hivemind", at_once], times["swarm", at_once]) for at_once in AT_ONCE]


def _row(at_once: int, ours: list[float], theirs: list[float]) -> Row:
    ratio = median([b / a for a, b in zip(ours, theirs, strict=True)])
    name = f"rolling update of {REPLICAS} replicas, {at_once} at a time"
    return told(name, median(ours), "s", f"Docker Swarm: {median(theirs):.2f} s", ratio)


def _update(node: Node, version: int, at_once: int) -> float:
    now = node.hive.apps.get(APP)
    update = Update(order="start-first", max_parallel=at_once, min_healthy_time=0)
    spec: AppSpec = replace(now.spec, env={"VERSION": str(version)}, update=update)
    begin = time.perf_counter()
    changed = node.hive.apps.deploy(AppManifest(name=APP, replicas=REPLICAS, spec=spec))
    deployment = changed.status.deployment
    node.daemon.until(
        lambda: (
            node.hive.deployments.get(deployment).state == "succeeded"
            and node.hive.apps.get(APP).status.running == REPLICAS
        )
    )
    return time.perf_counter() - begin


def _update_swarm(swarm: Docker, version: int, at_once: int) -> float:
    service = swarm.call("GET", "/services/bench")
    spec: dict[str, Any] = service["Spec"]
    spec["TaskTemplate"]["ContainerSpec"]["Env"] = [f"VERSION={version}"]
    # A nanosecond of observation: without any, Swarm takes its default of five seconds.
    spec["UpdateConfig"] = {"Parallelism": at_once, "Order": "start-first", "Monitor": 1, "Delay": 0}
    begin = time.perf_counter()
    swarm.call("POST", f"/services/bench/update?version={service['Version']['Index']}", spec)
    swarm.until(lambda: _swarm_is_done(swarm, version))
    return time.perf_counter() - begin


def _swarm_is_done(swarm: Docker, version: int) -> bool:
    service = swarm.call("GET", "/services/bench")
    mine = service["Spec"]["TaskTemplate"]["ContainerSpec"].get("Env") == [f"VERSION={version}"]
    completed = service.get("UpdateStatus", {}).get("State") == "completed"
    return mine and completed and swarm.running() == REPLICAS
