"""How a node of the hive finds the others, and how one that wants in finds somebody who may let it in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from hivemind.daemon.hive.addresses import parse
from hivemind.daemon.hive.directory import Directory
from hivemind.daemon.hive.invitation import Invitation
from hivemind.daemon.hive.wire import Wire
from hivemind.daemon.settings import ClusterSettings
from hivemind.protocols.kademlia.events import Translation
from hivemind.protocols.kademlia.ids import topic
from hivemind.security.identity import Identity, verify
from hivemind.transport.contract import Address, Datagrams
from hivemind.transport.discovery.cache import Cache
from hivemind.transport.discovery.contract import Source
from hivemind.transport.discovery.dht import Dht
from hivemind.transport.discovery.discovery import Discovery
from hivemind.transport.discovery.multicast import Multicast
from hivemind.transport.discovery.seeds import Seeds

_SEEKING = 5.0
"""Seconds that looking for somebody who could let a node in may take."""


def discovery(
    datagrams: Datagrams,
    key: Identity,
    settings: ClusterSettings,
    directory: Directory,
    *,
    hive: str,
    name: str,
    secret: bytes,
    own: Address,
    data: Path,
    found: Callable[[str, tuple[Address, ...]], None],
    seen: Callable[[tuple[Address, ...]], None],
) -> Discovery:
    """Of a node that is of the hive. What was good before is asked first, then what people wrote down."""

    def dht(outside: Callable[[Translation, Address | None], None]) -> Dht:
        admits = directory.belongs
        return Dht(datagrams, key, verify, hive=hive, own=own, admits=admits, outside=outside)

    def sources(dht: Dht) -> list[Source]:
        remembered = [address for addresses in directory.everybody().values() for address in addresses]
        made: list[Source] = [
            Seeds([*remembered, *map(parse, settings.cluster_seeds)]),
            Cache(data / "peers.json", dht.contacts),
        ]
        if settings.cluster_multicast == "on":
            made.append(Multicast(key, hive, secret, (own,)))
        return made

    return Discovery(dht, sources, name=name, secret=secret, addresses=[own], found=found, seen=seen)


class _Hearsay:
    """Whoever answers while a node looks for somebody to let it in."""

    def __init__(self, dht: Dht) -> None:
        self._dht = dht
        self.addresses: dict[Address, None] = {}

    def found(self, node: str, addresses: tuple[Address, ...]) -> None:
        self.addresses.update(dict.fromkeys(addresses))

    def perhaps(self, addresses: tuple[Address, ...]) -> None:
        self._dht.meet(addresses)


async def entrances(
    wire: Wire, key: Identity, settings: ClusterSettings, invitation: Invitation, known: Iterable[Address]
) -> list[Address]:
    """Where nodes of that hive say that they are. `known`: where one of them was, or still is."""
    wire.datagrams.enter(invitation.hive, invitation.secret)
    own = wire.address
    dht = Dht(wire.datagrams, key, verify, hive=invitation.hive, own=own, admits=lambda node: True)
    hearsay = _Hearsay(dht)
    sources: list[Source] = [Seeds([*known, *map(parse, settings.cluster_seeds)])]
    if settings.cluster_multicast == "on":
        sources.append(Multicast(key, invitation.hive, invitation.secret, (own,)))
    try:
        await dht.start(hearsay)
        for source in sources:
            await source.start(hearsay)
        announced = await dht.look(topic(invitation.name, invitation.secret), _SEEKING)
    finally:
        for source in sources:
            source.close()
        dht.close()
    reached = [address for found in announced.values() for address in found.addresses]
    return list(dict.fromkeys((*reached, *hearsay.addresses)))
