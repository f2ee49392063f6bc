"""What a filter is: a rule that says whether an ask may go to a node, and if not, why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.load import Load


class Reason(NamedTuple):
    """Why a node was refused, to be said of one node and of several: `lacks 2GiB memory`, `lack 2GiB memory`.

    It speaks of the ask and never of the single node, so that equal reasons can be counted together."""

    one: str
    many: str


Holders = Mapping[str, Collection[str]]
"""Published port -> ids of the nodes on which an app holds it."""
Check = Callable[[Node, Load, Ask], Reason | None]


@dataclass(frozen=True)
class Filter:
    """`reads` names the fields of the ask that the verdict depends on: asks equal in them share verdicts.

    A filter that does not watch the load depends on nothing that placing changes; its verdicts are kept.
    One that does not concern an ask is not run for it. One with `suspects` refuses none but the nodes that are
    named there, so that only these are checked for each app; the asks then need not agree in what it reads."""

    name: str
    check: Check
    reads: tuple[str, ...]
    concerns: Callable[[Ask], bool]
    watches_load: bool = False
    suspects: Callable[[Ask, Holders], Collection[str]] | None = None
