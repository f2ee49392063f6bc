"""A daemon that is killed again and again while a graph of tasks runs: each task has its effect exactly once, no
outcome is lost, and nothing is left running.

STORM_DEATHS and STORM_TASKS make more of it: all of it is 30 and 500.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.test_jobs import ended, put, tasks

pytestmark = pytest.mark.real
SEED = int(os.environ.get("STORM_SEED", "3"))
DEATHS = int(os.environ.get("STORM_DEATHS", "6"))
TASKS = int(os.environ.get("STORM_TASKS", "150"))
WIDTH = 10


def graph(effects: str) -> str:
    """Layers of tasks; each needs one or two of the layer before it. Most say something and give an output."""
    dice = random.Random(7)
    lines = ["name: storm", "tasks:"]
    for number in range(TASKS):
        layer, column = divmod(number, WIDTH)
        needs = sorted({(layer - 1) * WIDTH + (column + shift) % WIDTH for shift in (0, dice.choice((0, 1)))})
        wait = dice.choice(("", "sleep 0.1; ", "sleep 0.3; "))
        first = needs[0] if layer else -1
        lines += [
            f"  t{number}:",
            f'    run: \'{wait}echo "t{number} $HIVEMIND_ATTEMPT $SUM" >> {effects};'
            f" echo sum=$((SUM + {number})) >> $HIVEMIND_OUTPUT; echo said'",
            f"    env: {{SUM: {f'${{{{ needs.t{first}.outputs.sum }}}}' if layer else '0'!r}}}",
            *([f"    needs: [{', '.join(f't{need}' for need in needs)}]"] if layer else []),
        ]
    return "\n".join(lines) + "\n"


def test_a_graph_outlives_daemons_that_are_killed(fresh: Daemon) -> None:
    fresh.cli("project", "allow", "default", "processes")
    effects = fresh.home / "effects"
    put(fresh, graph(str(effects)))
    run = fresh.client.jobs.run("storm").name
    dice = random.Random(SEED)
    for _ in range(DEATHS):
        time.sleep(dice.choice((0.0, 0.05, 0.2, 0.5)) * dice.random())
        fresh.kill()
        if dice.random() < 0.3:
            time.sleep(dice.random())  # tasks end while nobody looks
        fresh.start() if dice.random() < 0.7 else fresh.launch()
    fresh.kill()
    fresh.start()
    assert ended(fresh, run, 300).state == "succeeded"
    found = tasks(fresh, run)
    assert len(found) == TASKS
    assert {task.state for task in found.values()} == {"succeeded"}
    lines = [line.split() for line in effects.read_text().splitlines()]
    twice = {name: count for name, count in Counter(line[0] for line in lines).items() if count != 1}
    assert (twice, len(lines)) == ({}, TASKS)
    assert {task.attempt for task in found.values()} == {1}
    for number in range(TASKS):
        assert [line.text for line in fresh.client.runs.logs(run, task=f"t{number}")] == ["said"]
    fresh.traces.must_be_clean()
