"""How long ten processes that begin at the same moment take until each knows all nine others.

Real processes, real datagrams over loopback, and the discovery that daemons have, with its defaults: sealed and signed,
addresses checked, announcements stored by token. Each knows one other, and nobody is told anything again. The clock
begins when all are told to begin, and stops when the last one knows the last other; medians of several rounds.
Hyperswarm 4.17 was measured before on such a machine: of ten that were started at once 0 to 3 knew all others after 40
seconds; all did after 1.3 to 1.5 seconds where each was made to ask again every half second.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.home import CLONE
from bench.node import ENVIRONMENT
from bench.row import Row, told, within

NOTE = """\
All with the same seed is how people begin who know one address of a hive. In a chain each knows the one that was
started before it, and nobody else: word of the last one has to pass through all. A node takes 20 ms of processor time
for it, and waits for the rest; on a machine whose two cores a dozen other busy processes want it takes one to three
seconds.
"""
COUNT = 10
ROUNDS = 7
LIMIT = 2.0
ANCHOR = 1.3
"""Seconds; the best of Hyperswarm's, with the refresh."""
_PROGRAM = Path(__file__).with_name("discovery_node.py")
Seeds = Callable[[Sequence[int]], Sequence[int]]
"""The ports of all -> the port that each knows; 0: none."""


def same(ports: Sequence[int]) -> Sequence[int]:
    """All know the first one, which knows nobody."""
    return [0, *[ports[0]] * (len(ports) - 1)]


def chain(ports: Sequence[int]) -> Sequence[int]:
    return [0, *ports[:-1]]


def meet(count: int, seeds: Seeds) -> tuple[float, list[float]]:
    """Seconds until all know all, and the processor time that each took until then."""
    processes = [
        subprocess.Popen(
            (sys.executable, str(_PROGRAM), str(number + 1), str(count)),
            env={**ENVIRONMENT, "PYTHONPATH": f"{CLONE}/src"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        ports = [int(_said(process)) for process in processes]
        begun = time.monotonic()
        for process, seed in zip(processes, seeds(ports), strict=True):
            _tell(process, f"{seed}\n")
        ends = [tuple(map(float, _said(process).split())) for process in processes]
        for process in processes:
            _tell(process, "enough\n")
        for process in processes:
            process.communicate(timeout=20)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return max(end for end, _ in ends) - begun, [spent for _, spent in ends]


def _said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process that looks for others has ended")
    return line


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin
    process.stdin.write(line)
    process.stdin.flush()


def run() -> list[Row]:
    peer = f"Hyperswarm, asking every 0.5 s: {ANCHOR} s"
    rows = []
    for name, seeds in (("all with the same seed", same), ("in a chain of seeds", chain)):
        rounds = [meet(COUNT, seeds) for _ in range(ROUNDS)]
        took = statistics.median(seconds for seconds, _ in rounds)
        slowest = max(seconds for seconds, _ in rounds)
        spent = statistics.median(each for _, round in rounds for each in round)
        rows += [
            within(f"{COUNT} processes know each other, {name}", took, "s", peer, ANCHOR / took, LIMIT),
            told(f"the slowest round of {ROUNDS}, {name}", slowest, "s", "-", None),
            told(f"processor time of each, {name}", spent * 1000, "ms", "-", None),
        ]
    return rows
