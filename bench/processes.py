"""Commands a second: replicas of a plain command that ends at once, beside bare asyncio subprocesses.

Hivemind places each, starts it in a session of its own, keeps its log and its exit code
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
These are replicas of an app, which cost more than tasks of a job (see jobs). Launching and watching a command costs
the daemon 0.3 to 0.4 ms of processor time and the process that is the parent of commands 0.4; the kernel needs 0.8 for
the command itself. The rest is placing it, two agreed transitions and what an app's replica is given.
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
