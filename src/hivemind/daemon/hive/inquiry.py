"""A node that nobody of its hive talks to asks whether it still belongs to it.

Who was away when it was expelled, or let go, never saw that agreed; and since it belongs to nobody's hive by then, no
node of the hive takes a connection of it, so it cannot catch up. But it can make a first contact, as who joins does,
with any of them, and ask.

*What it believes*: nothing that one node says. The answer of a voter comes over a channel in which that one has proved
its key, and counts for a state later than all that is known here, in which this node still belongs to the hive. Who
votes now follows from the chain of epochs, whose missing links come with the answers and prove themselves
(`protocols.pbft.epochs`). So many voters must say the same as it takes to lose a node (`state.losing`): more than may
lie, and two as long as there are two. Where fewer do, people are told and nothing is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from hivemind.daemon.hive import door
from hivemind.daemon.hive.duty import Duty
from hivemind.errors import HivemindError
from hivemind.model.base import UNREADABLE, decode
from hivemind.model.hive import Expulsion
from hivemind.protocols.pbft.epochs import Epochs
from hivemind.protocols.pbft.wire import Boundary
from hivemind.state.state import State
from hivemind.transport.contract import Address, Contact

log = logging.getLogger(__name__)
_PAUSE = 4.0
"""Seconds between two rounds of questions."""
_PATIENCE = 5.0
"""Seconds for one answer."""
FORCE = "if it was, hivemind cluster leave --force makes it a node of its own"


class Ledger(Protocol):
    @property
    def state(self) -> State: ...

    async def epochs(self) -> Epochs | None: ...


class Inquiry(Duty):
    """`silent`: whether this node hears too little of its hive; `others`: where the nodes are that do not talk to it;
    `contact` makes a first contact; `removed` is called once, with why this node is out, if that is known."""

    def __init__(
        self,
        *,
        node: str,
        ledger: Ledger,
        silent: Callable[[], bool],
        others: Callable[[], Mapping[str, tuple[Address, ...]]],
        contact: Callable[[Address], Awaitable[Contact]],
        removed: Callable[[Expulsion | None], None],
    ) -> None:
        super().__init__()
        self._node, self._ledger, self._silent, self._others = node, ledger, silent, others
        self._contact, self._removed = contact, removed
        self.doubt = ""
        """For people: it was said to be out, and too few said so."""

    async def _see_to_it(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            if not self._silent():
                self.doubt = ""
            elif (words := await self._round()) is not None:
                self._removed(_expulsion(words))
                return

    async def _round(self) -> Sequence[door.Removed] | None:
        """What those say whose word is enough; None: they do not say it."""
        try:
            chain = await self._ledger.epochs()
        except HivemindError as error:
            log.info("this node cannot ask whether it still belongs to its hive: %s", error.message)
            return None
        if chain is None:
            return None
        heard: dict[str, door.Removed] = {}
        for addresses in self._others().values():
            found = await self._ask(addresses, chain)
            if found is None:
                continue
            node, word = found
            _extend(chain, word.chain)
            if word.sequence > self._ledger.state.sequence:
                heard[node] = word
        voters = chain.current.voters
        words = [heard[voter] for voter in voters if voter in heard]
        if heard and len(words) >= needed(voters, self._node):
            return words
        self.doubt = (
            f"{len(heard)} nodes say that this one was removed from the hive, and that is not enough; {FORCE}"
            if heard
            else ""
        )
        return None

    async def _ask(self, addresses: Sequence[Address], chain: Epochs) -> tuple[str, door.Removed] | None:
        """Who answered there that this node is out."""
        for address in addresses:
            try:
                async with asyncio.timeout(_PATIENCE):
                    contact = await self._contact(address)
                    try:
                        await door.say(contact, door.Inquire(chain.current.number))
                        word = await door.hear(contact)
                        await contact.finish()
                        await contact.receive()  # its end: see `door.hand_over`
                    finally:
                        await contact.close()
            except (HivemindError, TimeoutError) as error:
                log.debug("nobody at %s:%d says what became of this node: %s", *address, error)
                continue
            return (contact.peer, word) if isinstance(word, door.Removed) else None
        return None


def needed(voters: Sequence[str], node: str) -> int:
    """How many of the voters must say that the node is out."""
    others = sum(voter != node for voter in voters)
    return max((len(voters) - 1) // 3 + 1, min(2, others))


def told(expulsion: Expulsion | None) -> str:
    """In words, and what can be done about it."""
    if expulsion is None:
        return "it was removed from it; it comes back with a new token: hivemind cluster join"
    return (
        f"it was expelled by {expulsion.by}: {expulsion.reason}; its key never comes back, so to join again it has to"
        " begin anew: hivemind daemon --destroy"
    )


def _extend(chain: Epochs, links: Sequence[bytes]) -> None:
    """As far as they hold."""
    for link in links:
        try:
            boundary = msgspec.msgpack.decode(link, type=Boundary)
        except (*UNREADABLE, ValueError):
            return
        if chain.extend(boundary) is None:
            return


def _expulsion(words: Sequence[door.Removed]) -> Expulsion | None:
    """As the first of them tells it that does. Whether it is out, all of them say; why, is for people."""
    for word in words:
        try:
            return decode(word.expulsion, Expulsion)
        except UNREADABLE:
            continue
    return None
