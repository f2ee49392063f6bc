"""From what membership sees to what is agreed: accusing those that this node does not reach, acquitting those that it
reaches again. Level-triggered: what should be said is compared with what was agreed, again and again, so that a word
that was lost, or that nobody could agree to, is said later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from hivemind.daemon.hive.duty import Duty
from hivemind.errors import HivemindError
from hivemind.state.losing import WINDOW, may_accuse
from hivemind.state.operations import AccuseNode, AcquitNode, Operation
from hivemind.state.state import Outcome, State

log = logging.getLogger(__name__)
_AGAIN = 2.0
"""Seconds between two looks while there is somebody to accuse."""


class Accuser(Duty):
    """`gone`: ids of those that this node itself does not reach; `back`: whether it reaches that one. Of some it may
    know neither. `report` has a fact of this node agreed."""

    def __init__(
        self,
        *,
        node: str,
        state: State,
        gone: Callable[[], frozenset[str]],
        back: Callable[[str], bool],
        report: Callable[[Operation], Awaitable[Outcome]],
    ) -> None:
        super().__init__()
        self._node, self._state, self._gone, self._back = node, state, gone, back
        self._report = report

    async def _see_to_it(self) -> None:
        while True:
            self._bell.clear()
            for wish in self.wishes():
                try:
                    await self._report(wish)
                except HivemindError as error:
                    log.debug("not agreed: %s: %s", type(wish).__name__, error.message)
            try:
                async with asyncio.timeout(_AGAIN if self._gone() else None):
                    await self._bell.wait()
            except TimeoutError:
                pass

    def wishes(self) -> list[Operation]:
        """What this node has to say by now."""
        state = self._state
        if not may_accuse(state, self._node):
            return []
        gone = self._gone()
        found: list[Operation] = []
        for id in sorted(gone):
            node = state.nodes.get(id)
            waits = node is None or node.away or node.restarting
            if node is not None and not waits and self._is_news(id, node.incarnation):
                found.append(AccuseNode(node=id, incarnation=node.incarnation))
        for key in sorted(state.accusations):
            said = state.accusations[key]
            if said.accuser == self._node and said.accused in state.nodes and self._back(said.accused):
                found.append(AcquitNode(node=said.accused))
        return found

    def _is_news(self, id: str, incarnation: int) -> bool:
        """It was not said of its present life, or so long ago that it will soon be void."""
        said = self._state.accusations.get(f"{id}/{self._node}")
        if said is None or said.incarnation != incarnation:
            return True
        return self._state.time - said.time > WINDOW // 2
