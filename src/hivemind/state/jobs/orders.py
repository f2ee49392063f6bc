"""The order for an attempt: all that its node needs, computed from what was agreed when the node asks."""

from __future__ import annotations

from hivemind.errors import NotFound
from hivemind.jobs.context import scope
from hivemind.jobs.order import Order, order
from hivemind.model.allocation import Allocation
from hivemind.model.run import task_key
from hivemind.state.jobs.book import StateBook
from hivemind.state.state import State


def order_of(state: State, allocation: Allocation) -> Order:
    """Raises `NotFound` when its run is not kept any more, `Invalid` when an expression of it fails: then the attempt
    ends with cause `start`."""
    if task_key(allocation.run, allocation.path) not in state.task_runs or allocation.run not in state.runs:
        raise NotFound(f"the run of attempt {allocation.id} is not kept any more")
    book = StateBook(state, allocation.run)
    node = book.plan.node(allocation.path)
    return order(
        book.spec,
        allocation.path,
        node.task,
        scope(book, book.plan, allocation.path),
        attempt=allocation.attempt,
        rank=allocation.slot,
    )
