"""Ids of nodes, topics and values: 32 bytes, and the distance between them is their XOR.

A node's id is the hash of the address from which it is heard: it cannot be chosen, and whoever hears a node can check
it. A topic is the hash of the hive's name and its secret: knowing the name is not enough to ask for it."""

from __future__ import annotations

import functools
import hashlib
import ipaddress

Address = tuple[str, int]
SIZE = 32
BITS = SIZE * 8


def digest(person: bytes, *parts: bytes, size: int = SIZE) -> bytes:
    """Each part with its length, so that no byte may move from one to the next."""
    hashed = hashlib.blake2b(digest_size=size, person=person)
    for part in parts:
        hashed.update(len(part).to_bytes(4, "big"))
        hashed.update(part)
    return hashed.digest()


@functools.lru_cache(8_192)
def node_id(address: Address) -> bytes:
    return digest(b"hm-dht-node", f"{address[0]}:{address[1]}".encode())


def topic(name: str, secret: bytes) -> bytes:
    return digest(b"hm-dht-topic", name.encode(), secret)


def distance(a: bytes, b: bytes) -> int:
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")


@functools.lru_cache(8_192)
def usable(address: Address) -> bool:
    """An address that one node may be at, in its one spelling: from a peer anything may come."""
    host, port = address
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    return 0 < port < 65_536 and str(found) == host and not (found.is_multicast or found.is_unspecified)
