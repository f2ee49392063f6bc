"""`./run bench [NAME…] [--json | --markdown]`: runs benchmarks and prints their results as ratios."""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from bench import report
from bench.home import CLONE
from bench.row import Row

BENCHMARKS = {
    "replicas": "0 to 30 and 100 containers and back: Hivemind, Docker Swarm, docker run, bare crun",
    "containerd": "0 to 30 containers and back on containerd: Hivemind, Docker Swarm, bare crun",
    "docker": "0 to 30 containers and back on docker: Hivemind, Docker Swarm, docker run",
    "update": "a rolling update of 10 replicas, one and five at a time, beside Docker Swarm",
    "idle": "memory, start-up and latency of a node that has nothing to do, beside Docker",
    "stats": "what it costs to know what 100 containers use, beside Docker",
    "images": "an image pulled from a registry and unpacked, beside containerd, and skopeo with tar",
    "processes": "plain commands that end at once, beside bare asyncio subprocesses",
    "jobs": "no-op tasks, chains, queues and schedules, beside HyperQueue, dask.distributed and Prefect",
    "scheduler": "placements a second on simulated hives of up to 5,000 nodes",
    "ledger": "durable operations a second, beside bare SQLite",
    "agreement": "operations agreed a second by 4 voters, and view changes, beside etcd",
    "cluster": "memory of the daemons of a hive of four, beside one that is alone",
    "discovery": "how fast ten processes that begin at once know each other, beside Hyperswarm",
    "membership": "how fast a crash is known to all of 10, 100 and 1,000 simulated nodes, beside serf",
    "store": "appends of three writers to the shared store, beside figures of Autobase",
}
"""Each is a module of this package with a `run() -> list[Row]`."""


def main() -> None:
    known = "\n".join(f"  {name:<11} {about}" for name, about in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="./run bench",
        description=__doc__,
        epilog=f"benchmarks (all of them when none is named):\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="one of those below")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list of results")
    form.add_argument(
        "--markdown", action="store_true", help="write docs/benchmarks.md too, or what it says of those named"
    )
    chosen = parser.parse_args()
    for name in chosen.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name!r}; there are: {', '.join(BENCHMARKS)}")
    results: dict[str, list[Row]] = {}
    for name in chosen.names or BENCHMARKS:
        print(f"{name} …", file=sys.stderr, flush=True)
        results[name] = importlib.import_module(f"bench.{name}").run()
        if not chosen.json:
            print(report.table(results[name]), flush=True)
    if chosen.json:
        print(json.dumps([row for rows in results.values() for row in rows], indent=2))
    if chosen.markdown:
        page = CLONE / "docs" / "benchmarks.md"
        page.write_text(
            report.renewed(page.read_text(), results) if chosen.names else report.markdown(results)
        )


if __name__ == "__main__":
    main()
