"""Explanations: why no node fits, in one sentence that counts the reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hivemind.scheduler.cluster import Cluster
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.filters import Filter, Reason


def explain(reasons: Iterable[Reason | None]) -> str:
    """`0 of 5 nodes fit: 3 lack 2GiB memory, 2 are drained`. One reason a node, None for one that fits.

    The most frequent reason comes first; among equally frequent ones the alphabet decides."""
    verdicts = list(reasons)
    if not verdicts:
        return "there are no nodes"
    counted = Counter(reason for reason in verdicts if reason is not None)
    fit = len(verdicts) - counted.total()
    head = fitting(fit, len(verdicts))
    parts = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    body = ", ".join(f"{count} {reason.one if count == 1 else reason.many}" for reason, count in parts)
    return f"{head}: {body}" if body else head


def fitting(fit: int, count: int) -> str:
    """`0 of 5 nodes fit`, `1 of 1 node fits`."""
    return f"{fit} of {count} {'node' if count == 1 else 'nodes'} {'fits' if fit == 1 else 'fit'}"


def refusals(cluster: Cluster, filters: Iterable[Filter], ask: Ask) -> list[Reason | None]:
    """For each node the first reason that speaks against it."""
    concerned = [f for f in filters if f.concerns(ask)]
    return [
        next((reason for f in concerned if (reason := f.check(node, load, ask)) is not None), None)
        for node, load in zip(cluster.nodes, cluster.loads, strict=True)
    ]
