"""A daemon that is killed again and again while a graph of tasks runs: each task has its effect exactly once, no
outcome is lost, and nothing is left running.

STORM_SEED throws other dice; STORM_DEATHS and STORM_TASKS make more or less of it.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest

from hivemind.model.run import TaskRunDocument
from tests.e2e.daemon import Daemon
from tests.e2e.stormy_graph import Fate, StormyGraph, notes, wrong_in
from tests.e2e.test_jobs import ended, put, tasks

pytestmark = pytest.mark.real
SEED = int(os.environ.get("STORM_SEED", "0")) or random.randrange(1, 1_000_000)
DEATHS = int(os.environ.get("STORM_DEATHS", "30"))
TASKS = int(os.environ.get("STORM_TASKS", "500"))


class Storm:
    """`about`: how many effects there will be. Deaths are spread over them, so over the whole graph."""

    def __init__(self, node: Daemon, dice: random.Random, effects: Path, about: int) -> None:
        self._node, self._dice = node, dice
        self._effects, self._about = effects, about

    def rage(self, deaths: int) -> None:
        for at in sorted(self._dice.sample(range(self._about), deaths)):
            if self._dice.random() < 0.3:  # while it starts
                time.sleep(0.7 * self._dice.random())
            else:
                self._until(at)
                time.sleep(self._dice.choice((0.0, 0.01, 0.05)) * self._dice.random())
            self._node.kill()
            if self._dice.random() < 0.3:
                time.sleep(0.3 * self._dice.random())  # tasks end while nobody looks
            self._node.launch()

    def _until(self, count: int) -> None:
        """So many effects, or none for a while: what is left waits for the end of the storm."""
        seen, since = -1, time.monotonic()
        while (now := len(notes(self._effects))) < count and time.monotonic() - since < 3:
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.005)


def outlives_a_storm(node: Daemon, size: int, deaths: int, task: dict[str, object], shared: Path) -> None:
    """`task`: what each task has, such as its image; it sees `shared` where that is."""
    print(f"STORM_SEED={SEED}")
    shared.mkdir()
    effects, gate = shared / "effects", shared / "gate"
    effects.touch()
    effects.chmod(0o666)  # each container has a user of its own
    dice = random.Random(SEED)
    graph = StormyGraph(dice, size, str(effects), str(gate), task)
    put(node, json.dumps(graph.document))
    run = node.client.jobs.run("storm").name
    # An attempt makes two effects; the tasks of the last layer wait.
    Storm(node, dice, effects, 2 * (graph.attempts - 12)).rage(deaths)
    node.kill()
    node.start()
    assert not node.client.runs.get(run).ended
    gate.touch()
    ran = ended(node, run, 120)
    assert ran.state == "succeeded", ran.reason
    assert wrong_in(notes(effects), graph.fates) == []
    recorded_once(node, run, graph.fates)
    nothing_is_left(node, run)


def recorded_once(node: Daemon, run: str, fates: dict[str, Fate]) -> None:
    """One outcome of each, with all that it left."""
    found = tasks(node, run)
    leaves = {path: task for path, task in found.items() if path in fates}
    assert len(leaves) == len(fates)
    assert {task.state for path, task in found.items() if path not in fates} == {"succeeded"}
    for path, fate in fates.items():
        task = leaves[path]
        codes = tuple(attempt.exit_code for attempt in task.attempts)
        assert (path, task.state, codes) == (path, fate.state, fate.codes)
        assert [attempt.number for attempt in task.attempts] == list(range(1, len(codes) + 1))
        assert outcomes(task) == [fate.state]
        assert task.outputs == ({"who": f"{path}/{len(codes)}"} if fate.state == "succeeded" else {})
    said = sorted(line.text for line in node.client.runs.logs(run))
    assert said == sorted(
        f"{path} says {number + 1}" for path, fate in fates.items() for number in range(len(fate.codes))
    )


def outcomes(task: TaskRunDocument) -> list[str]:
    return [mark.state for mark in task.marks if mark.state in ("succeeded", "failed", "lost", "timed out")]


def nothing_is_left(node: Daemon, run: str) -> None:
    """But what is kept of the run, until that is forgotten, too."""
    node.traces.must_be_clean()
    assert not node.client.allocations.list(None)
    kept = node.data / "attempts" / "kept"
    assert [place.name for place in kept.iterdir()] == [node.client.runs.get(run).id]


def test_a_graph_of_commands_outlives_daemons_that_are_killed(fresh: Daemon) -> None:
    fresh.cli("project", "allow", "default", "processes")
    outlives_a_storm(fresh, TASKS, DEATHS, {}, fresh.home / "shared")


def test_a_graph_of_containers_outlives_daemons_that_are_killed(fresh: Daemon) -> None:
    fresh.cli("project", "allow", "default", "bind")
    shared = fresh.home / "shared"
    mount = {"kind": "bind", "source": str(shared), "target": str(shared)}
    outlives_a_storm(fresh, 30, 5, {"image": "busybox:1", "mounts": [mount]}, shared)
