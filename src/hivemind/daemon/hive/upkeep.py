"""What a node owes its hive about itself: to register with each new life, to say when it can decide, to notice that it
is not of the hive any more. Level-triggered, in one task; what cannot be agreed now is said later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from hivemind.daemon.hive.duty import Duty
from hivemind.errors import HivemindError
from hivemind.state.operations import Operation, ReadyToVote
from hivemind.state.state import Outcome, State

log = logging.getLogger(__name__)
_AGAIN = 1.0
"""Seconds after something could not be agreed."""
_LONGEST = 5.0
"""Seconds that one attempt may take."""


class Ledger(Protocol):
    @property
    def state(self) -> State: ...

    async def caught_up(self) -> None: ...


class Upkeep(Duty):
    """`register` submits `RegisterNode` with that incarnation; `gone` is called once when the hive does not have this
    node any more."""

    def __init__(
        self,
        *,
        node: str,
        ledger: Ledger,
        register: Callable[[int], Awaitable[None]],
        report: Callable[[Operation], Awaitable[Outcome]],
        gone: Callable[[], None],
    ) -> None:
        super().__init__()
        self._node, self._ledger, self._register, self._report, self._gone = (
            node,
            ledger,
            register,
            report,
            gone,
        )
        self.registered = asyncio.Event()
        """This life of the node is known to the hive."""
        self._trouble = ""
        """Why the hive does not hear of it, as it was logged last: a partition may last for days."""

    async def _see_to_it(self) -> None:
        """It has missed decisions as long as it has not caught up: until then it says nothing of itself."""
        while True:
            self._bell.clear()
            node = self._ledger.state.nodes.get(self._node)
            if node is None:
                await self._ledger.caught_up()
                self._gone()
                return
            try:
                if node.lost or node.expected or not self.registered.is_set():
                    async with asyncio.timeout(_LONGEST):
                        await self._come_back()
                elif node.role != "worker" and not node.ready and not node.leaving:
                    async with asyncio.timeout(_LONGEST):
                        await self._ledger.caught_up()
                        await self._report(ReadyToVote(node=self._node))
                else:
                    self._trouble = ""
                    await self._bell.wait()
            except TimeoutError:
                self._warn(f"nobody answers within {_LONGEST:g} s")
            except HivemindError as error:
                self._warn(error.message)
                await asyncio.sleep(_AGAIN)

    def _warn(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("the hive does not hear of this node yet, which goes on trying: %s", trouble)
        self._trouble = trouble

    async def _come_back(self) -> None:
        """What it was last is known only once it has caught up: another start of it may have registered meanwhile."""
        await self._ledger.caught_up()
        node = self._ledger.state.nodes.get(self._node)
        if node is None:
            return
        incarnation = node.incarnation + 1
        await self._register(incarnation)
        self.registered.set()
        log.info("registered, incarnation %d", incarnation)
