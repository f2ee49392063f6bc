"""Many runs: side by side in processes of their own, and one after the other as far as anybody can see."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from hivemind.sim.registry import scenario
from hivemind.sim.run import Outcome, run
from hivemind.sim.scenario import Settings
from hivemind.sim.shrink import shrunk

_AT_ONCE = 8
"""Runs that a process is given together."""


def simulate(settings: Settings, *, trace: bool = False) -> Outcome:
    return run(settings, scenario, trace=trace)


def smallest(failed: Outcome, *, runs: int = 200) -> Outcome:
    """The least of it that still fails; see `shrink`."""
    return shrunk(failed, len(failed.plan), failed.operations, simulate, runs=runs)


def outcomes(wanted: Sequence[Settings], *, jobs: int, trace: bool = False) -> Iterator[Outcome]:
    """In the order of `wanted`."""
    if jobs <= 1 or len(wanted) < 2 * _AT_ONCE:
        for settings in wanted:
            yield simulate(settings, trace=trace)
        return
    context = multiprocessing.get_context("spawn")  # nothing of the parent, neither threads nor state
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=gc.freeze) as pool:
        yield from pool.map(partial(simulate, trace=trace), wanted, chunksize=_AT_ONCE)
