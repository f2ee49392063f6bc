"""Every test of the contract runs on the network in memory and on real connections over loopback."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest

from hivemind.security.identity import Identity
from hivemind.transport.contract import Address, Datagrams, Peers
from hivemind.transport.datagrams import UdpDatagrams
from hivemind.transport.fake import FakeNetwork
from hivemind.transport.peers import TcpPeers

SECRET = b"s" * 32
OTHER_SECRET = b"o" * 32


class FakeHive:
    """Nodes by short names; `ids` are what they are called on the network."""

    def __init__(self) -> None:
        self.network = FakeNetwork(seed=1)
        self.banned: set[str] = set()
        self._made: dict[str, Peers] = {}

    def id(self, name: str) -> str:
        return name

    async def peers(self, name: str, hive: str = "hive", secret: bytes | None = SECRET) -> Peers:
        made = self.network.peers(
            name, hive=hive, secret=secret, allowed=lambda node: node not in self.banned
        )
        self._made[name] = made
        return made

    async def datagrams(self, name: str, hive: str = "hive", secret: bytes | None = SECRET) -> Datagrams:
        return self.network.datagrams(name, hive=hive, secret=secret)

    def introduce(self) -> None:
        self.network.introduce()

    def disconnect(self, a: str, b: str) -> None:
        self.network.disconnect(a, b)

    async def nowhere(self) -> Address:
        return ("10.9.9.9", 1)

    async def close(self) -> None:
        for peers in self._made.values():
            await peers.close()  # type: ignore[attr-defined]


class RealHive:
    """The same over loopback; every node listens on a port of its own."""

    def __init__(self) -> None:
        self.banned: set[str] = set()
        self._identities: dict[str, Identity] = {}
        self._made: dict[str, TcpPeers] = {}
        self._datagrams: list[UdpDatagrams] = []

    def _identity(self, name: str) -> Identity:
        return self._identities.setdefault(name, Identity(hashlib.sha256(name.encode()).digest()))

    def id(self, name: str) -> str:
        return self._identity(name).public

    async def peers(self, name: str, hive: str = "hive", secret: bytes | None = SECRET) -> Peers:
        made = TcpPeers(self._identity(name), lambda node: node not in self.banned, hive=hive, secret=secret)
        self._made[name] = made
        await made.start("127.0.0.1", 0)
        return made

    async def datagrams(self, name: str, hive: str = "hive", secret: bytes | None = SECRET) -> Datagrams:
        made = UdpDatagrams(self._identity(name))
        self._datagrams.append(made)
        made.enter(hive, secret)
        await made.start("127.0.0.1", 0)
        return made

    def introduce(self) -> None:
        for one in self._made.values():
            for other in self._made.values():
                one.learn(other.node, [other.address])

    def disconnect(self, a: str, b: str) -> None:
        link = self._made[a]._links[self.id(b)]
        assert link.connection
        link.connection.abort("the test breaks it")

    async def nowhere(self) -> Address:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            return cast(Address, unused.getsockname())

    async def close(self) -> None:
        for peers in self._made.values():
            await peers.close()
        for datagrams in self._datagrams:
            datagrams.close()


@pytest.fixture(params=["fake", "real"])
async def hive(request: pytest.FixtureRequest) -> AsyncIterator[FakeHive | RealHive]:
    made = FakeHive() if request.param == "fake" else RealHive()
    yield made
    await made.close()
