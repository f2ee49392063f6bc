"""All that tells a node where the others of its hive are, as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hivemind.protocols.kademlia.events import Translation
from hivemind.protocols.kademlia.ids import topic
from hivemind.transport.contract import Address
from hivemind.transport.discovery.contract import Source
from hivemind.transport.discovery.dht import Dht

_FAREWELL = 1.0
"""Seconds that taking back an announcement may take."""


class Discovery:
    """`dht` is its heart; `sources` tell it where to begin. `name` and `secret` of the hive make the topic.

    `found` hears of each node that has said where it is, and again when that changes. `addresses`: where this node is
    reached. What is seen of them from outside is announced beside them, and `seen` is told."""

    def __init__(
        self,
        dht: Callable[[Callable[[Translation, Address | None], None]], Dht],
        sources: Callable[[Dht], Sequence[Source]],
        *,
        name: str,
        secret: bytes,
        addresses: Sequence[Address],
        found: Callable[[str, tuple[Address, ...]], None],
        seen: Callable[[tuple[Address, ...]], None] = lambda addresses: None,
    ) -> None:
        self.topic = topic(name, secret)
        self._addresses = self._announced = tuple(addresses)
        self._found, self._seen = found, seen
        self.dht = dht(self._outside)
        self._sources = sources(self.dht)

    async def start(self) -> None:
        await self.dht.start(self)
        self.dht.join(self.topic, self._announced)
        for source in self._sources:
            await source.start(self)

    async def close(self, *, leaving: bool = False) -> None:
        """`leaving`: nobody shall look for it here any more."""
        if leaving:
            await self.dht.part(self.topic, _FAREWELL)
        for source in self._sources:
            source.close()
        self.dht.close()

    def review(self) -> None:
        """Who belongs to the hive has changed."""
        self.dht.review()

    # -- as `contract.Finder` --------------------------------------------------------------------------------

    def found(self, node: str, addresses: tuple[Address, ...]) -> None:
        self._found(node, addresses)

    def perhaps(self, addresses: tuple[Address, ...]) -> None:
        self.dht.meet(addresses)

    def _outside(self, translation: Translation, address: Address | None) -> None:
        """Who is behind a translated address is told of at both: who is beside it reaches it at its own."""
        translated = translation in (Translation.CONSISTENT, Translation.RANDOM)
        seen = (address,) if translated and address else ()
        everywhere = tuple(dict.fromkeys((*self._addresses, *seen)))
        if everywhere != self._announced:
            self._announced = everywhere
            self.dht.join(self.topic, everywhere)
            self._seen(everywhere)
