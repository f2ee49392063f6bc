"""How a node of the hive finds the others. How one that wants in finds somebody to let it in: see `seeking`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hivemind.daemon.hive.addresses import parse
from hivemind.daemon.hive.directory import Directory
from hivemind.daemon.settings import ClusterSettings
from hivemind.protocols.kademlia.events import Translation
from hivemind.security.identity import Identity, verify
from hivemind.transport.contract import Address, Datagrams
from hivemind.transport.discovery.cache import Cache
from hivemind.transport.discovery.contract import Source
from hivemind.transport.discovery.dht import Dht
from hivemind.transport.discovery.discovery import Discovery
from hivemind.transport.discovery.multicast import Multicast
from hivemind.transport.discovery.seeds import Seeds


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
