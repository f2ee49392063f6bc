"""Every test of the contract runs on the network in memory and on real connections over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hivemind.transport.contract import Address, Datagrams, Peers
from hivemind.transport.fake import FakeNetwork

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


@pytest.fixture(params=["fake"])
async def hive(request: pytest.FixtureRequest) -> AsyncIterator[FakeHive]:
    made = FakeHive()
    yield made
    await made.close()
