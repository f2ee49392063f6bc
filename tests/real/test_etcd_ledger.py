"""Ledgers whose order a real etcd decides, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hivemind.errors import Unavailable
from hivemind.ledger.etcd.engine import EtcdEngine
from hivemind.ledger.etcd.gateway import Gateway
from hivemind.ledger.etcd.settings import Etcd
from hivemind.ledger.journal import Journal
from hivemind.ledger.local import LocalLedger
from hivemind.model.project import ProjectManifest
from hivemind.state.operations import PutProject
from ledger_hive import HIVE, Clock, found, wish
from ledgers import hive_in

pytestmark = [pytest.mark.anyio, pytest.mark.real]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """An etcd of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self._peer_port = _free_port(), _free_port()
        self.settings = Etcd(
            endpoints=("http://127.0.0.1:1", f"http://127.0.0.1:{self.port}"), timeout=2.0, answer_within=6.0
        )

    async def start(self) -> None:
        client, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self._peer_port}"
        self.process = subprocess.Popen(  # noqa: ASYNC220
            [
                "etcd", "--name", "one", "--data-dir", str(self.directory), "--logger", "zap", "--log-level", "error",
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(Unavailable):
                    await Gateway(self.settings).range("a", "b", 1)
                    return
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
async def etcd(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path / "etcd")
    await server.start()
    yield server
    server.stop()


class Member:
    """One node's journal and engine."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory, self.server = directory, server

    async def start(self) -> Member:
        self.journal = await Journal.open(self.directory, hive=HIVE)
        self.engine = EtcdEngine(self.journal, Clock(), self.server.settings)
        return self

    async def put(self, name: str, *, nonce: str = "") -> None:
        await self.engine.submit(wish(PutProject(manifest=ProjectManifest(name=name)), nonce=nonce))

    async def reaches(self, other: Member) -> None:
        async with asyncio.timeout(20):
            while self.journal.state.sequence != other.journal.state.sequence:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert self.journal.state.digest() == other.journal.state.digest()
        assert self.journal.head == other.journal.head

    async def stop(self) -> None:
        await self.engine.stop()
        await self.journal.close()


async def test_nodes_order_through_it_and_have_the_same_state(etcd: Server, tmp_path: Path) -> None:
    members = [await Member(tmp_path / f"n{i}", etcd).start() for i in range(3)]
    await members[0].engine.submit(wish(found()))
    await asyncio.gather(*(m.put(f"p{n}-{i}") for n, m in enumerate(members) for i in range(15)))
    assert {len(m.journal.state.projects) for m in members} <= set(range(46))
    for member in members[1:]:
        await member.reaches(members[0])
        await members[0].reaches(member)
    assert len(members[2].journal.state.projects) == 45
    await asyncio.gather(*(m.put("same", nonce="same") for m in members))
    assert members[0].journal.state.projects["same"].version == 1
    for member in members:
        await member.stop()


async def test_a_node_that_was_away_applies_what_it_missed(etcd: Server, tmp_path: Path) -> None:
    one, other = [await Member(tmp_path / f"n{i}", etcd).start() for i in range(2)]
    await one.engine.submit(wish(found()))
    await other.reaches(one)
    await other.stop()
    for index in range(150):
        await one.put(f"p{index}")
    await other.start()
    await other.reaches(one)
    await other.put("back")
    await one.reaches(other)
    await one.stop()
    await other.stop()


async def test_without_etcd_nothing_is_decided_and_with_it_all_goes_on(etcd: Server, tmp_path: Path) -> None:
    one, other = [await Member(tmp_path / f"n{i}", etcd).start() for i in range(2)]
    await one.engine.submit(wish(found()))
    etcd.stop()
    with pytest.raises(Unavailable) as refusal:
        await one.put("while-it-is-gone", nonce="gone")
    assert refusal.value.hint
    assert not one.engine.status().can_decide and "etcd" in one.engine.status().why_not
    await etcd.start()
    await one.put("while-it-is-gone", nonce="gone")
    await one.put("after")
    await other.reaches(one)
    assert one.journal.state.projects["while-it-is-gone"].version == 1
    assert one.engine.status().can_decide
    await one.stop()
    await other.stop()


async def test_what_was_decided_alone_comes_first(etcd: Server, tmp_path: Path) -> None:
    """The node that was alone goes on through etcd where it stood."""
    alone = await LocalLedger.open(tmp_path / "n0", hive=HIVE, clock=Clock())
    await alone.submit(wish(found()))
    await alone.submit(wish(PutProject(manifest=ProjectManifest(name="alone"))))
    await alone.close()
    member = await Member(tmp_path / "n0", etcd).start()
    await member.put("together")
    assert set(member.journal.state.projects) == {"alone", "together"}
    assert member.journal.state.sequence == 3
    await member.stop()


async def test_a_hive_goes_over_to_it_when_the_second_node_joins(etcd: Server, tmp_path: Path) -> None:
    async with hive_in(tmp_path / "hive", etcd=etcd.settings) as hive:
        first = await hive.found()
        assert first.ledger.status().engine == "local"
        await first.put("alone")
        second = await hive.join(vote=False)
        assert first.ledger.status().engine == second.ledger.status().engine == "etcd"
        await asyncio.gather(first.put("by-the-first"), second.put("by-the-second"))
        await hive.agree()
        await second.stop()
        await first.put("while-it-is-away")
        await second.start()
        await second.put("back")
        await hive.agree()
        assert len(second.projects) == 5
