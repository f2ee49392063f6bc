"""Commands a second: replicas of a plain command that ends at once, beside bare asyncio subprocesses.

Hivemind places each, starts it in a process group and a control group of its own, keeps its log and its exit code
over a restart of the daemon, and agrees durably on its placement and on its end. The floor only starts `true` and
waits for it, as many at a time as is fastest. Both take turns, three rounds each.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.home import home
from bench.node import Node
from bench.row import Row, at_least, median
from hivemind.model.app import AppManifest, AppSpec, Restart
from hivemind.model.project import ProjectManifest

NOTE = """\
The budget is that of jobs, which will have a path of their own; these are replicas of an app. Most of the time goes
where commands are launched: one process, which outlives the daemon, forks each, waits until it has entered its
control groups (one move for each hierarchy of version 1, each of which waits for the whole kernel) and runs, and
only then takes the next: 3 ms. Launching without waiting is the next step; after that come the small files that the
daemon writes for each command, 1.5 ms.
"""

COMMANDS = 200
ROUNDS = 3
OF_THE_FLOOR = 0.5
_AT_ONCE = (2, 4, 8)


def run() -> list[Row]:
    with home() as place:
        return measure(place)


def measure(place: Path) -> list[Row]:
    ours, bare = [], []
    with Node(place / "node") as node:
        node.hive.projects.put(ProjectManifest(name="default", permissions=("processes",)))
        for round in range(ROUNDS):
            bare.append(max(COMMANDS / asyncio.run(_floor(width)) for width in _AT_ONCE))
            ours.append(COMMANDS / _app(node, f"round-{round}"))
    rate, floor = median(ours), median(bare)
    return [
        at_least(
            "no-op commands, each agreed on twice",
            rate,
            "1/s",
            f"bare asyncio subprocesses: {floor:.0f}/s",
            rate / floor,
            OF_THE_FLOOR,
        )
    ]


def _app(node: Node, name: str) -> float:
    """Seconds until all replicas of a new app have ended well."""
    spec = AppSpec(runtime="process", command=("true",), restart=Restart(policy="no"))
    node.hive.apps.deploy(AppManifest(name=name, replicas=0, spec=spec))
    begin = time.perf_counter()
    node.hive.apps.scale(name, COMMANDS)
    node.daemon.until(lambda: node.hive.apps.get(name).status.phase == "completed", interval=0.05)
    return time.perf_counter() - begin


async def _floor(width: int) -> float:
    """Seconds for the same number of bare subprocesses, `width` at a time."""
    waiting = iter(range(COMMANDS))

    async def worker() -> None:
        for _ in waiting:
            process = await asyncio.create_subprocess_exec("true")
            if await process.wait():
                raise RuntimeError("true is false")

    begin = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(width)))
    return time.perf_counter() - begin
