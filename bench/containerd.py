"""From nothing to 30 running containers and back on containerd: Hivemind, Docker Swarm, bare crun.

As in `replicas`, but Hivemind runs them with its containerd runtime, in a containerd of its own of the same version
as Swarm's. The contestants take turns; a ratio is the median of those of the rounds.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from bench import memory
from bench.enclosure import Daemon
from bench.floor import floor
from bench.home import home
from bench.node import Node
from bench.peers import Docker, programs
from bench.row import Row, at_least, median, told

NOTE = """\
Each container has a shim of containerd's, which runs runc twice for its start: that is most of the time, and why this
runtime cannot be as fast as the embedded one. The API itself costs about 0.6 ms of the daemon's processor time a call,
five calls a start.
"""

SIZE, ROUNDS = 30, 5
FASTER_THAN_SWARM = 4.0
_ADDRESS = "/run/containerd-bench.sock"
_CONFIG = """\
version = 2
root = "{home}/engine"
state = "/run/containerd-hivemind"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{address}"
"""


class OnContainerd(Node):
    """A daemon and the containerd that it uses."""

    _engine: Daemon | None = None

    def __init__(self, home: Path) -> None:
        super().__init__(home, "--runtime", "containerd", "--containerd-address", _ADDRESS)

    def start(self) -> float:
        if self._engine is None:
            config = self._home / "containerd.toml"
            config.write_text(_CONFIG.format(home=self._home, address=_ADDRESS))
            tree = programs()
            path = f"{tree}/usr/sbin:{tree}/usr/bin:{os.environ['PATH']}"
            command = ("containerd", "-c", str(config), "-l", "error")
            self._engine = self._enclosure.start(
                *command, env={**os.environ, "PATH": path}, log=self._home / "containerd.log"
            )
            self._engine.until(self._enclosure.path(_ADDRESS).exists)
        return super().start()


def run() -> list[Row]:
    with home() as place:
        return measure(place)


def measure(place: Path) -> list[Row]:
    up: dict[str, list[float]] = defaultdict(list)
    down: dict[str, list[float]] = defaultdict(list)
    weights: list[float] = []
    with Docker(place / "swarm", swarm=True) as swarm, OnContainerd(place / "node") as node:
        node.deploy()
        for contestant in (node, swarm):
            contestant.scale(1)
            contestant.scale(0)  # What is done only once, such as unpacking, is not what is compared.
        for round in range(ROUNDS):
            before = memory.proportional(node.processes())
            for name, contestant in (("swarm", swarm), ("hivemind", node)):
                up[name].append(contestant.scale(SIZE))
                if name == "hivemind":
                    weights.append((memory.proportional(node.processes()) - before) / SIZE)
                down[name].append(contestant.scale(0))
            started, ended = floor(place / f"floor-{round}", SIZE)
            up["crun"].append(started)
            down["crun"].append(ended)
    return [
        *_rows(f"0 to {SIZE} replicas running on containerd", up, FASTER_THAN_SWARM),
        *_rows(f"{SIZE} replicas on containerd to 0", down, 0.0),
        told(
            "memory (PSS) of each further container on containerd", median(weights) / memory.MB, "MB", "", 0.0
        ),
    ]


def _rows(name: str, times: dict[str, list[float]], budget: float) -> list[Row]:
    ours, swarm, crun = (times[who] for who in ("hivemind", "swarm", "crun"))
    faster = median([theirs / mine for theirs, mine in zip(swarm, ours, strict=True)])
    slower = median([mine / theirs for theirs, mine in zip(crun, ours, strict=True)])
    peers = f"Docker Swarm: {median(swarm):.2f} s", f"bare crun: {median(crun):.3f} s"
    row = (
        at_least(name, median(ours), "s", peers[0], faster, budget)
        if budget
        else told(name, median(ours), "s", peers[0], faster)
    )
    return [row, told(name, median(ours), "s", peers[1], slower)]
