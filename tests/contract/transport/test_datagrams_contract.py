"""What `Datagrams` promise, whoever keeps the promise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hivemind.errors import TooLarge
from hivemind.transport.contract import Address, Datagrams

pytestmark = pytest.mark.anyio
SECRET = b"s" * 32
OTHER_SECRET = b"o" * 32


class Inbox:
    """What came, in order."""

    def __init__(self, datagrams: Datagrams, kind: str) -> None:
        self.queue: asyncio.Queue[tuple[Address, str, bytes]] = asyncio.Queue()
        self.undo = datagrams.on_datagram(kind, lambda *came: self.queue.put_nowait(came))

    async def next(self) -> tuple[Address, str, bytes]:
        async with asyncio.timeout(10):
            return await self.queue.get()


async def test_it_arrives_with_source_and_sender(hive: Any) -> None:
    a, b = await hive.datagrams("a"), await hive.datagrams("b")
    swim, dht = Inbox(b, "swim"), Inbox(b, "dht")
    a.send(b.address, "swim", b"ping")
    a.send(b.address, "dht", b"x" * 1_200)
    assert await swim.next() == (a.address, a.node, b"ping")
    assert await dht.next() == (a.address, a.node, b"x" * 1_200)
    assert swim.queue.empty()


async def test_too_large_a_message_is_refused(hive: Any) -> None:
    a = await hive.datagrams("a")
    with pytest.raises(TooLarge):
        a.send(a.address, "swim", b"x" * 1_201)


async def test_what_nobody_handles_is_dropped(hive: Any) -> None:
    a, b = await hive.datagrams("a"), await hive.datagrams("b")
    swim = Inbox(b, "swim")
    a.send(b.address, "other", b"nobody")
    a.send(b.address, "swim", b"somebody")
    assert (await swim.next())[2] == b"somebody"
    swim.undo()
    dht = Inbox(b, "dht")
    a.send(b.address, "swim", b"nobody any more")
    a.send(b.address, "dht", b"somebody")
    assert (await dht.next())[2] == b"somebody"
    assert swim.queue.empty()


@pytest.mark.parametrize(("name", "secret"), [("other", SECRET), ("hive", OTHER_SECRET), ("hive", None)])
async def test_nothing_passes_between_hives_or_without_the_secret(
    hive: Any, name: str, secret: bytes | None
) -> None:
    a, b, c = await hive.datagrams("a", name, secret), await hive.datagrams("b"), await hive.datagrams("c")
    inbox = Inbox(b, "swim")
    a.send(b.address, "swim", b"stranger")
    c.send(b.address, "swim", b"friend")
    assert (await inbox.next())[2] == b"friend"
    a.enter("hive", SECRET)
    a.send(b.address, "swim", b"friend by now")
    assert (await inbox.next())[1:] == (a.node, b"friend by now")
