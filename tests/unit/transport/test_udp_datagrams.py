"""Datagrams over real UDP: what strangers and recordings cost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from hivemind.protocols.datagram import Sealer
from hivemind.security.identity import Identity, verify
from hivemind.transport.contract import Address
from hivemind.transport.datagrams import UdpDatagrams

pytestmark = pytest.mark.anyio
A, B = (Identity(bytes([number]) * 32) for number in (1, 2))
SECRET = b"s" * 32
CLOCK = 1_700_000_000_000_000


class Inbox(asyncio.Queue[tuple[Address, str, bytes]]):
    def hear(self, source: Address, sender: str, message: bytes) -> None:
        self.put_nowait((source, sender, message))

    async def next(self) -> bytes:
        async with asyncio.timeout(10):
            return (await self.get())[2]


@pytest.fixture
async def receiver() -> AsyncIterator[UdpDatagrams]:
    made = UdpDatagrams(B, wall=lambda: CLOCK)
    made.enter("hive", SECRET)
    await made.start("127.0.0.1", 0)
    yield made
    made.close()


@pytest.fixture
async def stranger() -> AsyncIterator[asyncio.DatagramTransport]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    yield transport
    transport.close()


async def test_noise_and_recordings_are_counted_and_cost_nothing_else(
    receiver: UdpDatagrams, stranger: asyncio.DatagramTransport
) -> None:
    inbox = Inbox()
    receiver.on_datagram("swim", inbox.hear)
    sealer = Sealer(A, verify, "hive", SECRET)
    recorded = sealer.seal("swim", b"one", CLOCK, os.urandom(24))
    for packet in (b"", b"noise", os.urandom(1_300), recorded, recorded, recorded[:-1]):
        stranger.sendto(packet, receiver.address)
    stranger.sendto(sealer.seal("swim", b"two", CLOCK, os.urandom(24)), receiver.address)
    assert [await inbox.next(), await inbox.next()] == [b"one", b"two"]
    assert receiver.dropped["replayed"] == 1
    assert receiver.dropped["sealed for others"] == 2
    assert receiver.dropped["size"] >= 1
    assert inbox.empty()


async def test_a_clock_that_is_far_off_is_told(
    receiver: UdpDatagrams, stranger: asyncio.DatagramTransport
) -> None:
    inbox = Inbox()
    receiver.on_datagram("swim", inbox.hear)
    early = Sealer(A, verify, "hive", SECRET).seal("swim", b"", CLOCK - 3_600_000_000, os.urandom(24))
    stranger.sendto(early, receiver.address)
    stranger.sendto(
        Sealer(A, verify, "hive", SECRET).seal("swim", b"now", CLOCK, bytes(24)), receiver.address
    )
    assert await inbox.next() == b"now"
    assert receiver.dropped == {"clock": 1}


async def test_a_handler_that_fails_costs_only_its_datagram(
    receiver: UdpDatagrams, stranger: asyncio.DatagramTransport, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()

    def fragile(source: Address, sender: str, message: bytes) -> None:
        if message == b"bad":
            raise ZeroDivisionError
        inbox.hear(source, sender, message)

    receiver.on_datagram("swim", fragile)
    sealer = Sealer(A, verify, "hive", SECRET)
    for message in (b"bad", b"good"):
        stranger.sendto(sealer.seal("swim", message, CLOCK, os.urandom(24)), receiver.address)
    assert await inbox.next() == b"good"
    assert "ZeroDivisionError" in caplog.text


async def test_before_it_knows_a_hive_it_neither_sends_nor_hears(
    receiver: UdpDatagrams, stranger: asyncio.DatagramTransport
) -> None:
    inbox = Inbox()
    receiver.on_datagram("swim", inbox.hear)
    receiver.enter("", None)
    receiver.send(receiver.address, "swim", b"to nobody")
    stranger.sendto(os.urandom(300), receiver.address)
    async with asyncio.timeout(10):
        while not receiver.dropped["no secret yet"]:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert receiver.dropped == {"unsent": 1, "no secret yet": 1}


async def test_after_it_is_closed_sending_is_counted_only(receiver: UdpDatagrams) -> None:
    address = receiver.address
    receiver.close()
    receiver.close()
    receiver.send(address, "swim", b"late")
    assert receiver.dropped == {"unsent": 1}
