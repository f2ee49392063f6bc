"""From nothing to 30 and to 100 running containers and back: Hivemind, Docker Swarm, `docker run`, bare crun.

All run `sleep` from the same cached busybox image, each container with an address of its own and no health check.
Hivemind and Swarm are scaled through their APIs and asked by API every 10 ms how many replicas run; back at zero
is when nothing of any is left, killed without grace. The contestants take turns, three rounds each.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from bench import memory
from bench.floor import floor
from bench.home import home
from bench.node import Node
from bench.peers import Docker
from bench.row import Row, at_least, at_most, median, told

NOTE = """\
bare crun has no seccomp filter, no supervisor, no log and no exit code, and forgets everything. Of Hivemind's time
for a container about two thirds are that floor; a fifth is conmon, which is what keeps log and exit code while the
daemon is down; crun compiles the seccomp filter for about 1 ms; the daemon itself takes 4 to 5 ms of processor time
(netlink and the overlay mount in the kernel, then Python). All of it is processor time: with two cores, four starts
at once keep them busy, and whatever else runs on the machine at that moment shows.
"""

SIZES = (30, 100)
ROUNDS = 3
FASTER_THAN_SWARM = 10.0
OF_BARE_CRUN = 1.5

Times = dict[tuple[str, str, int], list[float]]
"""Seconds by contestant, direction and size."""


def run() -> list[Row]:
    with home() as place:
        return measure(place)


def measure(place: Path) -> list[Row]:
    times: Times = defaultdict(list)
    weights: dict[str, list[float]] = defaultdict(list)
    with (
        Docker(place / "swarm", swarm=True) as swarm,
        Docker(place / "docker", swarm=False) as docker,
        Node(place / "node") as node,
    ):
        node.deploy()
        for contestant in (node, swarm):
            contestant.scale(1)
            contestant.scale(0)  # What is done only once, such as unpacking, is not what is compared.
        for size in SIZES:
            for round in range(ROUNDS):
                for name, contestant in (("swarm", swarm), ("hivemind", node)):
                    before = memory.proportional(contestant.processes())
                    times[name, "up", size].append(contestant.scale(size))
                    weights[name].append((memory.proportional(contestant.processes()) - before) / size)
                    times[name, "down", size].append(contestant.scale(0))
                times["docker", "up", size].append(docker.up(size))
                times["docker", "down", size].append(docker.down(size))
                up, down = floor(place / f"floor-{size}-{round}", size)
                times["crun", "up", size].append(up)
                times["crun", "down", size].append(down)
    rows = [row for size in SIZES for row in _starts(times, size)]
    rows += [row for size in SIZES for row in _stops(times, size)]
    rows.append(_weight(weights))
    return rows


def _starts(times: Times, size: int) -> list[Row]:
    ours, swarm, docker, crun = _medians(times, "up", size)
    name = f"0 to {size} replicas running"
    return [
        at_least(name, ours, "s", f"Docker Swarm: {swarm:.2f} s", swarm / ours, FASTER_THAN_SWARM),
        at_most(name, ours, "s", f"bare crun run -d: {crun:.3f} s", ours / crun, OF_BARE_CRUN),
        told(name, ours, "s", f"docker run -d, 4 at a time: {docker:.2f} s", docker / ours),
    ]


def _stops(times: Times, size: int) -> list[Row]:
    ours, swarm, docker, crun = _medians(times, "down", size)
    name = f"{size} replicas to 0"
    return [
        told(name, ours, "s", f"Docker Swarm: {swarm:.2f} s", swarm / ours),
        told(name, ours, "s", f"docker rm -f: {docker:.2f} s", docker / ours),
        told(name, ours, "s", f"bare crun delete -f: {crun:.3f} s", ours / crun),
    ]


def _medians(times: Times, direction: str, size: int) -> list[float]:
    return [median(times[name, direction, size]) for name in ("hivemind", "swarm", "docker", "crun")]


def _weight(weights: dict[str, list[float]]) -> Row:
    ours, swarm = (median(weights[name]) / memory.MB for name in ("hivemind", "swarm"))
    peer = f"Docker Swarm: {swarm:.2f} MB"
    return told("memory (PSS) of each further container", ours, "MB", peer, swarm / ours)
