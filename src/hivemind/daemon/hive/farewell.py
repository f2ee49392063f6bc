"""The last word of a daemon that is told to stop: that it will be back, so that what runs here need not be moved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from hivemind.errors import HivemindError
from hivemind.ledger.contract import LedgerStatus
from hivemind.state.operations import AnnounceRestart, Operation
from hivemind.state.restarting import SHORTEST
from hivemind.state.state import Outcome, State

log = logging.getLogger(__name__)
_PATIENCE = 2.0
"""Seconds. The others may be stopped, too, and then nobody agrees to anything any more."""


async def announce_restart(
    *,
    node: str,
    state: State,
    status: LedgerStatus,
    grace: int,
    report: Callable[[Operation], Awaitable[Outcome]],
) -> None:
    """`grace`: milliseconds; less than a second: nobody shall wait. What cannot be agreed soon is not said at all:
    then this node counts as lost, as if it had died."""
    me = state.nodes.get(node)
    if grace < SHORTEST or me is None or me.away or len(state.nodes) == 1 or not status.can_decide:
        return
    try:
        async with asyncio.timeout(_PATIENCE):
            await report(AnnounceRestart(node=node, incarnation=me.incarnation, grace=grace))
    except TimeoutError:
        log.warning("the hive has not heard that this daemon stops: what runs here may be begun elsewhere")
    except HivemindError as error:
        log.warning("the hive does not wait for this node: %s", error.message)
    else:
        until = state.nodes[node].restarting if node in state.nodes else 0
        log.info("the others wait %.0f s for this node", max(until - state.time, 0) / 1000)
