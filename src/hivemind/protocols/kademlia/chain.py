"""A chain of hashes: who has promised its end can prove later, as often as it is long, that it is still the same."""

from __future__ import annotations

from hivemind.protocols.kademlia.ids import digest
from hivemind.protocols.machine import Dice

LENGTH = 32


def chain(dice: Dice) -> list[bytes]:
    """Its end last: that one is promised, and the others follow from there to the front."""
    links = [dice.randrange(2**256).to_bytes(32, "big")]
    for _ in range(LENGTH):
        links.append(_next(links[-1]))
    return links


def leads_to(preimage: bytes, end: bytes) -> bool:
    """Some that came between may have been lost."""
    link = preimage
    for _ in range(LENGTH):
        link = _next(link)
        if link == end:
            return True
    return False


def _next(link: bytes) -> bytes:
    return digest(b"hm-dht-chain", link)
