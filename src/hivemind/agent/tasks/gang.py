"""How the members of a gang find each other: each shows its address, and none begins before all have shown theirs.

`HIVEMIND_MEMBERS` is the addresses by rank, with commas between them. A container's is its own; a plain command's is
its node's, so that several on one node have the same, and must agree on ports by their ranks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hivemind.agent.endpoints import status_key
from hivemind.jobs.order import Order
from hivemind.model.allocation import Phase
from hivemind.model.base import decode
from hivemind.model.node import NodeStatus
from hivemind.model.run import task_key

if TYPE_CHECKING:
    from hivemind.agent.tasks.attempt import Attempt

_LOOPBACK = "127.0.0.1"


async def members(attempt: Attempt, order: Order) -> dict[str, str]:
    """The variables of a member, as soon as all have an address."""
    agent = attempt.agent
    task = agent.state.task_runs[task_key(attempt.member.run, attempt.member.path)]
    attempt.observe(
        Phase.WAITING,
        f"waits for the other {order.size - 1} members of its gang",
        ip=attempt.ip or _address(attempt),
    )
    attempt.show()
    news = asyncio.Event()
    undo = agent.store.subscribe(status_key(""), lambda entries: news.set())
    try:
        while not all(found := _addresses(attempt, task.allocations)):
            news.clear()
            await news.wait()
    finally:
        undo()
    return {"HIVEMIND_MEMBERS": ",".join(found)}


def _addresses(attempt: Attempt, allocations: Sequence[str]) -> list[str]:
    statuses = (attempt.agent.last_status(id) for id in allocations)
    return [status.ip if status else "" for status in statuses]


def _address(attempt: Attempt) -> str:
    """Of this node, as it shows itself to the others."""
    entry = attempt.agent.store.get(f"node/{attempt.agent.node}")
    known = decode(entry.value, NodeStatus).addresses if entry and entry.value else ()
    return known[0] if known else _LOOPBACK
