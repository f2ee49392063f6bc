"""What this node may do while it does not know what the others have decided.

Healing goes on: whatever runs is watched, and what was begun is started again. But nothing new is begun before
everything is applied that was agreed without this node, and what was taken from it is ended first. A node that hears
nothing of enough voters for the time that was agreed (see `state.fencing`) counts as cut off: it stops what must never
run twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from hivemind.state.fencing import CONTACT

log = logging.getLogger(__name__)
_LOOK = 1.0
"""Seconds between two looks at who is heard of."""
_DOUBTFUL = 10.0
"""Seconds of silence after which this node may have missed something: twice what is in order."""


class Hearing(Protocol):
    """What the agent asks the ledger."""

    async def caught_up(self) -> None:
        """Returns when everything that was agreed is applied here, as far as enough others told."""

    def behind(self) -> bool:
        """More is known to be agreed than is applied here."""

    def silence(self) -> float:
        """Seconds since enough voters to decide were heard of, this node among them; 0 where it decides alone."""


class Alone:
    """Nobody decides anything without this node."""

    async def caught_up(self) -> None:
        return

    def behind(self) -> bool:
        return False

    def silence(self) -> float:
        return 0.0


class Fence:
    """`taken` tells whether anything still runs here that was taken from this node; `changed` is called when something
    else may be done than before."""

    def __init__(self, hearing: Hearing, taken: Callable[[], bool], changed: Callable[[], None]) -> None:
        self._hearing, self._taken, self._changed = hearing, taken, changed
        self.knows = False
        """It has heard all that was agreed before it began to listen."""
        self.cut_off = False
        """What must never run twice is stopped."""
        self._held = False
        self._why = ""

    @property
    def closed(self) -> str:
        """Why nothing new may be begun now; empty: it may. Whoever asks is told by `changed` when to ask again."""
        self._why = self._reason()
        self._held = self._held or bool(self._why)
        return self._why

    def _reason(self) -> str:
        if not self.knows:
            return "waits to hear what was decided without this node"
        if self._hearing.behind():
            return "waits until everything is applied that was decided"
        if self._taken():
            return "waits until what was taken from this node has ended"
        return ""

    def look_again(self) -> None:
        """Something was agreed, or has ended here."""
        if self._held and not self._reason():
            self._held = False
            self._changed()

    async def open(self) -> None:
        """The first look, before anything is begun: what can be known at once, is."""
        await self._look()

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(_LOOK)
            await self._look()

    async def _look(self) -> None:
        silence = self._hearing.silence()
        if silence > _DOUBTFUL:
            self.knows = False
        elif not self.knows:
            self.knows = await self._catches_up()
        cut_off = silence * 1000 >= CONTACT
        if cut_off is not self.cut_off:
            self.cut_off = cut_off
            if cut_off:
                log.warning("nothing is heard of enough voters: what must never run twice is stopped")
            self._changed()
        self.look_again()

    async def _catches_up(self) -> bool:
        try:
            async with asyncio.timeout(_LOOK):
                await self._hearing.caught_up()
        except TimeoutError:
            return False
        return True
