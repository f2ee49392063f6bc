"""Jobs: commands that do nothing, beside bare subprocesses and the engines that people run jobs with.

Hivemind places each command, starts it in a session of its own, keeps its log and exit code over restarts of the
daemon and makes each transition durable before anybody hears of it. Bare: an asyncio loop with two live subprocesses,
and `xargs -P2`; they keep nothing. HyperQueue, dask.distributed and Prefect have two workers each; the first two keep
nothing on disk. All take turns in one run. Then 100,000 tasks that wait for a node that is not there, and 10,000
schedules. With `HIVEMIND_BENCH_TASKS=1000,5000` in the environment 5,000 tasks are measured as well, which takes some
minutes more.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from bench import engines, memory
from bench.home import home
from bench.node import Node
from bench.row import Row, at_least, median, told, within
from hivemind.model.job import JobManifest, JobSpec, Schedule, Task, Triggers
from hivemind.model.project import ProjectManifest
from hivemind.model.run import RunDocument

NOTE = """\
Each task passes through three processes (the daemon, the shim that is the parent of commands, the command) and two
durable batches, which it shares with others. The node may run 32 tasks at a time, so that both cores have work while a
batch is being written. Where other work loads the machine, the hops between processes make Hivemind slower than its
share of processor time says; figures of a loaded machine are lower bounds.
"""

ROUNDS = 3
SIZES = tuple(int(size) for size in os.environ.get("HIVEMIND_BENCH_TASKS", "1000").split(","))
SLOTS = 32
CHAIN = 100
ENGINES = {"hyperqueue": (1000, 100), "dask": (1000, 100), "prefect": (100, 10)}
"""How many commands, and how long a chain, each engine is given: Prefect takes 50 ms for one."""
SLOW = ("prefect",)
"""Takes half a minute to start, and has one round."""
QUEUED = 100_000
AT_ONCE = 1000
"""Tasks of a fan-out that are made ahead; one of more makes the next as the first end."""
SCHEDULES, PER_JOB = 10_000, 100
WATCHED = 40
"""Seconds over which schedules are watched."""
OF_THE_FLOOR = 0.5
STEP = 10.0
CRON_ERROR = 1000.0


def run() -> list[Row]:
    with home() as place:
        return measure(place)


def measure(place: Path) -> list[Row]:
    rows = _speeds(place)
    with Node(place / "queue") as node:
        _allow(node)
        rows += _queue(node)
    with Node(place / "cron") as node:
        _allow(node)
        rows += _cron(node)
    return rows


def _speeds(place: Path) -> list[Row]:
    rates: dict[tuple[str, int], list[float]] = defaultdict(list)
    steps: dict[str, list[float]] = defaultdict(list)
    missing: dict[str, str] = {}
    with Node(place / "node", "--task-slots", str(SLOTS)) as node:
        _allow(node)
        for size in SIZES:
            many = {f"t{number}": _true() for number in range(size)}
            _put(node, f"fan-{size}", {"t": _true(for_each=list(range(size)))})
            _put(node, f"graph-{size}", many)
        _put(node, "chain", {f"t{at}": _true(needs=_after(at)) for at in range(CHAIN)})
        _ended(node, "chain")  # what is done only once, such as starting the shim, is not what is compared
        for round in range(ROUNDS):
            for size in SIZES:
                rates["asyncio", size].append(size / asyncio.run(_floor(size)))
                rates["xargs", size].append(size / _xargs(size))
                rates["fan-out", size].append(size / _seconds(_ended(node, f"fan-{size}")))
                rates["graph", size].append(size / _seconds(_ended(node, f"graph-{size}")))
            steps["hivemind"].append(_seconds(_ended(node, "chain")) / CHAIN * 1000)
            for engine, sizes in ENGINES.items():
                if engine in missing or (round and engine in SLOW):
                    continue
                try:
                    speed = engines.measure(engine, place / f"{engine}-{round}", *sizes)
                except engines.Missing as error:
                    missing[engine] = str(error)
                    continue
                rates[engine, SIZES[0]].append(speed.rate)
                steps[engine].append(speed.step)
    for engine, why in missing.items():
        print(f"{engines.NAMES[engine]} is left out: {why}", file=sys.stderr)
    return [*_rates(rates), *_steps(steps)]


def _rates(rates: dict[tuple[str, int], list[float]]) -> list[Row]:
    rows = []
    for size in SIZES:
        floor, xargs = median(rates["asyncio", size]), median(rates["xargs", size])
        for kind in ("fan-out", "graph"):
            ours = median(rates[kind, size])
            name = f"{size:,} no-op tasks, {kind}"
            rows.append(
                at_least(
                    name, ours, "1/s", f"bare asyncio, 2 live: {floor:.0f}/s", ours / floor, OF_THE_FLOOR
                )
            )
            rows.append(told(name, ours, "1/s", f"bare xargs -P2: {xargs:.0f}/s", ours / xargs))
    ours = median(rates["fan-out", SIZES[0]])
    for engine, (size, _) in ENGINES.items():
        if theirs := rates[engine, SIZES[0]]:
            peer = f"{engines.NAMES[engine]}: {median(theirs):.0f}/s"
            rows.append(at_least(f"no-op tasks ({size} there)", ours, "1/s", peer, ours / median(theirs), 1))
        else:
            rows.append(told("no-op tasks", ours, "1/s", f"{engines.NAMES[engine]}: missing", None))
    return rows


def _steps(steps: dict[str, list[float]]) -> list[Row]:
    ours = median(steps["hivemind"])
    rows = [within(f"one step of {CHAIN} dependent tasks", ours, "ms", "", None, STEP)]
    for engine in ENGINES:
        if theirs := steps[engine]:
            peer = f"{engines.NAMES[engine]}: {median(theirs):.1f} ms"
            rows.append(told("one step of dependent tasks", ours, "ms", peer, median(theirs) / ours))
    return rows


def _queue(node: Node) -> list[Row]:
    """Tasks that nothing can place, and how long another one takes among them."""
    _put(
        node,
        "waiting",
        {"t": _true(for_each=list(range(AT_ONCE)), constraints=("node.labels.never == yes",))},
    )
    _put(node, "one", {"t": _true()})
    alone = _latency(node)
    before = memory.resident([node.daemon.pid])
    begin = time.perf_counter()
    runs = [node.hive.jobs.run("waiting").name for _ in range(QUEUED // AT_ONCE)]
    node.daemon.until(lambda: node.hive.runs.get(runs[-1]).tally.waiting == AT_ONCE)
    submitted = time.perf_counter() - begin
    grown = (memory.resident([node.daemon.pid]) - before) / memory.MB
    among = _latency(node)
    return [
        told(f"{QUEUED:,} tasks queued", QUEUED / submitted, "1/s", "", None),
        told(
            f"daemon's RSS for {QUEUED:,} queued tasks",
            grown,
            "MB",
            f"before: {before / memory.MB:.0f} MB",
            None,
        ),
        told("a task among them, submitted to ended", among, "ms", f"alone: {alone:.1f} ms", among / alone),
    ]


def _latency(node: Node) -> float:
    """Median milliseconds between the making of a run and its end."""
    return median([_seconds(_ended(node, "one")) * 1000 for _ in range(9)])


def _cron(node: Node) -> list[Row]:
    """Schedules spread evenly over an hour, each once in it; how late those started that were due meanwhile."""
    for job in range(SCHEDULES // PER_JOB):
        times = [(job * PER_JOB + at) * 3600 // SCHEDULES for at in range(PER_JOB)]
        schedules = tuple(
            Schedule(name=f"s{at}", cron=f"{time % 60} {time // 60} * * * *", missed="none")
            for at, time in enumerate(times)
        )
        manifest = JobManifest(
            name=f"cron-{job}", spec=JobSpec(tasks={"t": _true()}, triggers=Triggers(schedule=schedules))
        )
        node.hive.jobs.put(manifest)
    time.sleep(WATCHED)
    late = sorted(
        max(0, run.started - run.start.time) for run in node.hive.runs.of() if run.start.kind == "schedule"
    )
    p50, p99 = late[len(late) // 2], late[len(late) * 99 // 100]
    peer = f"{len(late)} runs of {SCHEDULES:,} schedules, at {datetime.now(UTC):%H:%M}"
    return [
        told("error of a start by cron, median", p50, "ms", peer, None),
        within("error of a start by cron, p99", p99, "ms", peer, None, CRON_ERROR),
    ]


def _true(**fields: object) -> Task:
    return Task(command=("true",), runtime="process", **fields)  # type: ignore[arg-type]


def _after(at: int) -> dict[str, str]:
    return {f"t{at - 1}": "success"} if at else {}


def _allow(node: Node) -> None:
    node.hive.projects.put(ProjectManifest(name="default", permissions=("processes",)))


def _put(node: Node, name: str, tasks: dict[str, Task]) -> None:
    node.hive.jobs.put(JobManifest(name=name, spec=JobSpec(tasks=tasks)))


def _ended(node: Node, job: str) -> RunDocument:
    """A new run of it, that has succeeded."""
    name = node.hive.jobs.run(job).name
    last = node.hive.runs.get(name)
    while not last.ended:
        time.sleep(0.02)
        last = node.hive.runs.get(name)
    if last.state != "succeeded":
        raise RuntimeError(f"{name} {last.state}: {last.reason}")
    return last


def _seconds(run: RunDocument) -> float:
    """By the ledger's clock, from its making to its end."""
    return (run.ended - run.created) / 1000


async def _floor(count: int) -> float:
    """Seconds for so many bare subprocesses, two at a time."""
    waiting = iter(range(count))

    async def worker() -> None:
        for _ in waiting:
            process = await asyncio.create_subprocess_exec("true")
            if await process.wait():
                raise RuntimeError("true is false")

    begin = time.perf_counter()
    await asyncio.gather(worker(), worker())
    return time.perf_counter() - begin


def _xargs(count: int) -> float:
    begin = time.perf_counter()
    lines = "\n".join(map(str, range(count)))
    subprocess.run(["xargs", "-P2", "-n1", "true"], input=lines, text=True, check=True)
    return time.perf_counter() - begin
