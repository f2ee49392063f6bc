"""From nothing to 30 and to 100 running containers and back: Hivemind, Docker Swarm, `docker run`, bare crun.

All run `sleep` from the same cached busybox image, each container with an address of its own and no health check.
Hivemind and Swarm are scaled through their APIs and asked by API every 10 ms how many replicas run; back at zero
is when nothing of any is left, killed without grace. The contestants take turns; a ratio is the median of those of
the rounds, so that what else the machine does meanwhile weighs on both sides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
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
daemon is down; the seccomp filter costs crun up to 1 ms; the daemon itself takes 4 to 5 ms of processor time
(netlink and the overlay mount in the kernel, then Python). All of it is processor time: with two cores, four starts
at once keep them busy, and whatever else runs on the machine at that moment shows: runs of this version gave 1.2 to
2.1 times bare crun and 6 to 10 times Swarm, the lower ones on a machine a third as fast. A user namespace with
id-mapped layers for each container adds a millisecond or two. Both budgets are missed here, and at their edge on a
faster machine with 30 containers; conmon is the next thing to save on.
"""

ROUNDS = {30: 5, 100: 3}
"""How often, by how many containers."""
CONTESTANTS = ("hivemind", "swarm", "docker", "crun")
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
        for size, rounds in ROUNDS.items():
            for round in range(rounds):
                times["docker", "up", size].append(docker.up(size))
                times["docker", "down", size].append(docker.down(size))
                for name, contestant in (("swarm", swarm), ("hivemind", node)):
                    before = memory.proportional(contestant.processes())
                    times[name, "up", size].append(contestant.scale(size))
                    weights[name].append((memory.proportional(contestant.processes()) - before) / size)
                    times[name, "down", size].append(contestant.scale(0))
                up, down = floor(place / f"floor-{size}-{round}", size)
                times["crun", "up", size].append(up)
                times["crun", "down", size].append(down)
    rows = [row for size in ROUNDS for row in _starts(times, size)]
    rows += [row for size in ROUNDS for row in _stops(times, size)]
    rows.append(_weight(weights))
    return rows


def _starts(times: Times, size: int) -> list[Row]:
    name = f"0 to {size} replicas running"
    ours, swarm, docker, crun = (times[who, "up", size] for who in CONTESTANTS)
    peers = f"Docker Swarm: {median(swarm):.2f} s", f"bare crun run -d: {median(crun):.3f} s"
    return [
        at_least(name, median(ours), "s", peers[0], _ratio(swarm, ours), FASTER_THAN_SWARM),
        at_most(name, median(ours), "s", peers[1], _ratio(ours, crun), OF_BARE_CRUN),
        told(name, median(ours), "s", f"docker run -d: {median(docker):.2f} s", _ratio(docker, ours)),
    ]


def _stops(times: Times, size: int) -> list[Row]:
    name = f"{size} replicas to 0"
    ours, swarm, docker, crun = (times[who, "down", size] for who in CONTESTANTS)
    return [
        told(name, median(ours), "s", f"Docker Swarm: {median(swarm):.2f} s", _ratio(swarm, ours)),
        told(name, median(ours), "s", f"docker rm -f: {median(docker):.2f} s", _ratio(docker, ours)),
        told(name, median(ours), "s", f"bare crun delete -f: {median(crun):.3f} s", _ratio(ours, crun)),
    ]


def _ratio(dividends: Sequence[float], divisors: Sequence[float]) -> float:
    """The median of the rounds' own ratios."""
    return median([a / b for a, b in zip(dividends, divisors, strict=True)])


def _weight(weights: dict[str, list[float]]) -> Row:
    ours, swarm = (median(weights[name]) / memory.MB for name in ("hivemind", "swarm"))
    peer = f"Docker Swarm: {swarm:.2f} MB"
    return told("memory (PSS) of each further container", ours, "MB", peer, swarm / ours)
