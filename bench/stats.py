"""What it costs to know what 100 containers use: one answer of the node, beside Docker's for the same containers.

`docker stats` opens a stream for each container, and the engine measures each once a second for as long as somebody
looks; `one-shot` asks for a single sample instead, which is the cheapest that its API has.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.home import home
from bench.node import Node
from bench.peers import Docker
from bench.row import Row, at_least, median, told

NOTE = """\
Hivemind reads four files of each control group that it keeps open, and one of /proc for the network; the rest of the
time is HTTP and JSON. Docker is asked for one sample of each container, eight at a time.
"""

CONTAINERS = 100
ROUNDS = 7
FASTER = 10.0
_AT_ONCE = 8


def run() -> list[Row]:
    with home() as place:
        return measure(place)


def measure(place: Path) -> list[Row]:
    with Docker(place / "docker", swarm=False) as docker, Node(place / "node") as node:
        node.deploy()
        node.scale(CONTAINERS)
        docker.up(CONTAINERS)
        names = [f"bench-{number}" for number in range(CONTAINERS)]

        def ours() -> None:
            assert len(node.hive.stats()) == CONTAINERS

        def theirs() -> None:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                asked = [f"/containers/{name}/stats?stream=false&one-shot=true" for name in names]
                assert len(list(pool.map(lambda path: docker.call("GET", path), asked))) == CONTAINERS

        mine, other = _by_turns(ours, theirs)
        spent = _processor(node.daemon.pid, ours)
        docker.down(CONTAINERS)
        node.scale(0)
    docker_needs = f"docker: {other * 1000:.0f} ms"
    return [
        at_least(f"stats of {CONTAINERS} containers", mine * 1000, "ms", docker_needs, other / mine, FASTER),
        told("processor time of the daemon for one container", spent / CONTAINERS * 1e6, "µs", "-", None),
    ]


def _by_turns(*asks: Callable[[], None]) -> list[float]:
    """The median seconds of each, the first turn (cold files) not counted."""
    turns = [[_seconds(ask) for ask in asks] for _ in range(ROUNDS + 1)][1:]
    return [median(times) for times in zip(*turns, strict=True)]


def _seconds(ask: Callable[[], None]) -> float:
    begin = time.perf_counter()
    ask()
    return time.perf_counter() - begin


def _processor(pid: int, ask: Callable[[], None]) -> float:
    """Seconds of processor time for one answer."""
    before = _spent(pid)
    for _ in range(ROUNDS):
        ask()
    return (_spent(pid) - before) / ROUNDS


def _spent(pid: int) -> float:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / 100
