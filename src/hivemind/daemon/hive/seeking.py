"""Where a node that wants in may knock. Its token has what the nodes of the hive find each other by, the hive's name
and secret, so it asks the hive's distributed hash table as they do, and announces nothing.

Who has the secret need not be of the hive, so what is found is no more than a door to knock at: see `door`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from hivemind.daemon.hive.addresses import advertised, parse, show
from hivemind.daemon.hive.invitation import Invitation
from hivemind.daemon.hive.wire import Wire
from hivemind.daemon.settings import ClusterSettings
from hivemind.errors import Unavailable
from hivemind.protocols.kademlia.events import Found
from hivemind.protocols.kademlia.ids import topic
from hivemind.security.identity import Identity, verify
from hivemind.transport.contract import Address
from hivemind.transport.discovery import cache
from hivemind.transport.discovery.dht import Dht
from hivemind.transport.discovery.multicast import Multicast

_PATIENCE = 6.0
"""Seconds that are looked for somebody to let a node in."""
_SEEDS_AFTER = 1.0
"""Seconds until somebody knocks where people said that a node is: as a rule it has named better doors by then."""
_HURRY = 1.0
"""Seconds that are left once somebody has said no."""
_MOST = 64
"""Doors; who has the secret may name as many as it likes."""
_SHOWN = 4

TOKEN = "the join token"
BEFORE = "what this node remembers"
SEEDS = "the seeds"
TABLE = "the DHT"
NEIGHBOURS = "the local network"


class Entrance(NamedTuple):
    address: Address
    source: str
    """How it was found, for people."""

    def __str__(self) -> str:
        return f"{show(self.address)}, found by {self.source}"


class Search:
    """Entrances as they are found, each once, until nobody has named a good one in time. `known`: where nodes of the
    hive were that this one had to do with; `seeds`: where people say that one is; `cached`: the file of
    `discovery.cache`, which may be of another hive."""

    def __init__(
        self,
        wire: Wire,
        key: Identity,
        settings: ClusterSettings,
        invitation: Invitation,
        *,
        known: Iterable[Address] = (),
        seeds: Iterable[Address] = (),
        cached: Path,
    ) -> None:
        self._key, self._invitation = key, invitation
        self._known, self._cached = tuple(known), cache.read(cached)
        self._seeds = tuple(dict.fromkeys((*seeds, *map(parse, settings.cluster_seeds))))
        wire.datagrams.enter(invitation.hive, invitation.secret)
        own = advertised(wire.address)
        self._dht = Dht(wire.datagrams, key, verify, hive=invitation.hive, own=own, admits=lambda node: True)
        self._neighbours = (
            Multicast(key, invitation.hive, invitation.secret, (own,))
            if settings.cluster_multicast == "on"
            else None
        )
        self._own, self._named = own, 0
        self._queue: asyncio.Queue[Entrance | None] = asyncio.Queue(_MOST + 1)
        self._offered: set[Address] = {own}
        self._timers: list[asyncio.TimerHandle] = []
        self._seeking: asyncio.Task[None] | None = None
        self.over = False

    async def __aenter__(self) -> Search:
        """Raises `Unavailable` when there is nobody to ask."""
        begin = tuple(dict.fromkeys((*self._invitation.addresses, *self._known, *self._seeds, *self._cached)))
        if not begin and self._neighbours is None:
            raise Unavailable(
                f"nobody is known who could be asked for the hive {self._invitation.name!r}: there is no address in"
                " the join token, and none anywhere else",
                hint="name any node of it: hivemind cluster join --seed HOST:PORT TOKEN; or see the settings"
                " cluster_seeds and cluster_multicast",
            )
        loop = asyncio.get_running_loop()
        self._offer(self._invitation.addresses, TOKEN)
        self._offer(self._known, BEFORE)
        await self._dht.start(self)
        self._dht.meet(begin)
        sought = topic(self._invitation.name, self._invitation.secret)
        self._seeking = loop.create_task(self._dht.seek(sought, self._told))
        if self._neighbours:
            await self._neighbours.start(self)
        self._timers = [
            loop.call_later(_SEEDS_AFTER, self._offer, self._seeds, SEEDS),
            loop.call_later(_PATIENCE, self._end),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._seeking:
            self._seeking.cancel()
            await asyncio.gather(self._seeking, return_exceptions=True)
        if self._neighbours:
            self._neighbours.close()
        self._dht.close()

    def __aiter__(self) -> Search:
        return self

    async def __anext__(self) -> Entrance:
        entrance = await self._queue.get()
        if entrance is None:
            raise StopAsyncIteration
        return entrance

    def hurry(self) -> None:
        """Somebody has said no. Only another one who is about to be found may know better."""
        if not self.over:
            self._timers.append(asyncio.get_running_loop().call_later(_HURRY, self._end))

    def tried(self) -> str:
        """Where it was looked, for people."""
        addresses = self._invitation.addresses
        begun = tuple(dict.fromkeys((*addresses, *self._known, *self._seeds, *self._cached)))
        parts = [f"the token names {_several(addresses)}"]
        if begun:
            parts.append(f"the DHT was asked at {_several(begun)} and named {self._named or 'nobody'}")
        if self._neighbours:
            parts.append("the local network was asked")
        return "; ".join(parts)

    # -- as `contract.Finder`, and of the table --------------------------------------------------------------

    def found(self, node: str, addresses: tuple[Address, ...]) -> None:
        if node != self._key.public:
            self._offer(addresses, NEIGHBOURS)

    def perhaps(self, addresses: tuple[Address, ...]) -> None:
        self._dht.meet(addresses)

    def _told(self, found: Found) -> None:
        if found.node != self._key.public:
            self._named += self._offer(found.addresses, TABLE)

    def _offer(self, addresses: Iterable[Address], source: str) -> int:
        """How many of them are new."""
        fresh = [each for each in dict.fromkeys(addresses) if each not in self._offered]
        fresh = fresh[: max(0, _MOST - len(self._offered))] if not self.over else []
        self._offered.update(fresh)
        for address in fresh:
            self._queue.put_nowait(Entrance(address, source))
        return len(fresh)

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        for timer in self._timers:
            timer.cancel()
        self._queue.put_nowait(None)


def _several(addresses: tuple[Address, ...]) -> str:
    if not addresses:
        return "no address"
    more = len(addresses) - _SHOWN
    return ", ".join(map(show, addresses[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
