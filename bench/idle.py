"""What a node costs that has nothing to do: memory, start-up, and the patience of who types commands."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import memory
from bench.home import home
from bench.node import COMMAND, ENVIRONMENT, Node
from bench.peers import Docker
from bench.row import Row, median, told, within

NOTE = """\
RSS is the daemon alone, as `ps` shows it; PSS counts everything that runs, helpers and one conmon for each container
included. `hivemind ps` is slower than `docker ps` by what Python needs to start and to import the client, 60 of its
80 ms; the daemon answers in 2. Start-up is processor time as well: 0.2 s with little else running, 0.7 s beside ten
other busy processes.
"""

CONTAINERS = 30
ROUNDS = 5
RESIDENT = 50.0
START = 0.5
HELP = 0.1
_SETTLE = 2.0
"""Seconds after which a daemon that was just started or busy counts as idle."""


def run() -> list[Row]:
    with home() as place:
        return measure(place)


def measure(place: Path) -> list[Row]:
    with Docker(place / "docker", swarm=False) as docker, Node(place / "node") as node:
        node.deploy()
        ours_start, their_start = _starts(node), _starts(docker)
        rows = _memory(node, docker, "with no container")
        node.scale(CONTAINERS)
        docker.up(CONTAINERS)
        rows += _memory(node, docker, f"with {CONTAINERS} containers")
        rows.append(
            within(
                "daemon start to ready",
                ours_start,
                "s",
                f"dockerd: {their_start:.2f} s",
                their_start / ours_start,
                START,
            )
        )
        rows += _commands(node, docker)
        docker.down(CONTAINERS)
        node.scale(0)
    return rows


def _starts(daemon: Node | Docker) -> float:
    times = []
    for _ in range(ROUNDS):
        daemon.stop()
        times.append(daemon.start())
    return median(times)


def _memory(node: Node, docker: Docker, when: str) -> list[Row]:
    """The daemon itself by RSS, as `ps` shows it; then everything by PSS, helpers and supervisors included."""
    time.sleep(_SETTLE)
    ours, theirs = memory.resident([node.daemon.pid]), memory.resident(docker.engine)
    ours_all, theirs_all = memory.proportional(node.processes()), memory.proportional(docker.processes())
    engine = f"dockerd + containerd: {theirs / memory.MB:.0f} MB"
    everything = f"Docker, all of it: {theirs_all / memory.MB:.0f} MB"
    return [
        within(f"daemon's RSS {when}", ours / memory.MB, "MB", engine, theirs / ours, RESIDENT),
        told(f"PSS of all processes {when}", ours_all / memory.MB, "MB", everything, theirs_all / ours_all),
    ]


def _commands(node: Node, docker: Docker) -> list[Row]:
    ours = [*COMMAND, "--help"], ENVIRONMENT
    theirs = [docker.cli, "--help"], docker.env
    help_ours, help_theirs = _by_turns(_processor, ours, theirs)
    ours = [*COMMAND, "ps"], {**ENVIRONMENT, "HIVEMIND_HOST": node.host}
    theirs = [docker.cli, "-H", docker.host, "ps"], docker.env
    ps_ours, ps_theirs = _by_turns(_seconds, ours, theirs)
    return [
        within(
            "hivemind --help, CPU",
            help_ours,
            "s",
            f"docker --help: {help_theirs:.3f} s",
            help_theirs / help_ours,
            HELP,
        ),
        told(
            f"hivemind ps, {CONTAINERS} containers",
            ps_ours,
            "s",
            f"docker ps: {ps_theirs:.3f} s",
            ps_theirs / ps_ours,
        ),
    ]


Call = tuple[Sequence[str], Mapping[str, str]]


def _by_turns(measure: Callable[[Call], float], *calls: Call) -> list[float]:
    """The median of each, the first turn (cold files) not counted."""
    turns = [[measure(call) for call in calls] for _ in range(ROUNDS + 1)][1:]
    return [median(times) for times in zip(*turns, strict=True)]


def _seconds(call: Call) -> float:
    begin = time.perf_counter()
    _quietly(call)
    return time.perf_counter() - begin


def _processor(call: Call) -> float:
    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    _quietly(call)
    return spent() - before


def _quietly(call: Call) -> None:
    command, environment = call
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
