"""From nothing to 30 running containers and back on docker: Hivemind, Docker Swarm, `docker run`.

As in `replicas`, but Hivemind runs them with its docker runtime, on an engine of its own of the same version. The
contestants take turns; a ratio is the median of those of the rounds.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from bench.enclosure import Daemon
from bench.home import home
from bench.node import Node
from bench.peers import Docker, environment, launch
from bench.row import Row, median, told

NOTE = """\
All three let the same engine start the containers, which is nearly all of the time: what is compared is what each
adds to that. Hivemind asks the API for it, with no program started for each container and no second agreement.
"""

SIZE, ROUNDS = 30, 3


class OnDocker(Node):
    """A daemon and the engine that it uses."""

    _engine: Daemon | None = None

    def __init__(self, home: Path) -> None:
        super().__init__(home, "--runtime", "docker", "--docker-socket", "/run/docker.sock")

    def start(self) -> float:
        if self._engine is None:
            place = self._home / "engine"
            place.mkdir()
            _, self._engine = launch(self._enclosure, place, environment())
            self._engine.until(self._enclosure.path("/run/docker.sock").exists)
        return super().start()


def run() -> list[Row]:
    with home() as place:
        return measure(place)


def measure(place: Path) -> list[Row]:
    up: dict[str, list[float]] = defaultdict(list)
    down: dict[str, list[float]] = defaultdict(list)
    with (
        Docker(place / "swarm", swarm=True) as swarm,
        Docker(place / "docker", swarm=False) as docker,
        OnDocker(place / "node") as node,
    ):
        node.deploy()
        for contestant in (node, swarm):
            contestant.scale(1)
            contestant.scale(0)  # What is done only once, such as loading the image, is not what is compared.
        for _ in range(ROUNDS):
            up["docker"].append(docker.up(SIZE))
            down["docker"].append(docker.down(SIZE))
            for name, contestant in (("swarm", swarm), ("hivemind", node)):
                up[name].append(contestant.scale(SIZE))
                down[name].append(contestant.scale(0))
    return [
        *_rows(f"0 to {SIZE} replicas running on docker", up, "docker run -d"),
        *_rows(f"{SIZE} replicas on docker to 0", down, "docker rm -f"),
    ]


def _rows(name: str, times: dict[str, list[float]], command: str) -> list[Row]:
    ours, swarm, docker = (times[who] for who in ("hivemind", "swarm", "docker"))
    beside_swarm = median([theirs / mine for theirs, mine in zip(swarm, ours, strict=True)])
    beside_docker = median([theirs / mine for theirs, mine in zip(docker, ours, strict=True)])
    peers = f"Docker Swarm: {median(swarm):.2f} s", f"{command}: {median(docker):.2f} s"
    return [
        told(name, median(ours), "s", peers[0], beside_swarm),
        told(name, median(ours), "s", peers[1], beside_docker),
    ]
