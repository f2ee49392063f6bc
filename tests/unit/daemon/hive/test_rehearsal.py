"""Following a hive before belonging to it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hivemind.daemon.hive.addresses import show
from hivemind.daemon.hive.belonging import Belonging
from hivemind.daemon.hive.rehearsal import rehearse
from hivemind.daemon.settings import ClusterSettings
from hivemind.security.identity import Identity
from hivemind.security.joining import joining
from hivemind.state.operations import JoinHive, RegisterNode
from hivemind.transport.fake import SECRET
from tests.ledgers import HIVE, PERSON, TOKEN, hive_in, milliseconds, until

pytestmark = pytest.mark.anyio
NEWCOMER = Identity(b"n" * 32)


async def test_others_may_vote_by_then_than_those_that_the_sponsor_named(tmp_path: Path) -> None:
    """Nodes that join at the same moment: what was handed over is of a hive of one, and four decide by now, of whom
    nobody knows where this one is."""
    async with hive_in(tmp_path) as hive:
        first = await hive.found()
        signed = joining(HIVE, NEWCOMER.public, PERSON.public)
        wish = JoinHive(
            node=NEWCOMER.public, name="new", role="member", administrator=PERSON.public,
            token=TOKEN.public, proof=TOKEN.sign(signed), consent=NEWCOMER.sign(signed),
        )  # fmt: skip
        await first.submit(wish, by=first.identity)
        handover = await first.ledger.handover()
        for _ in range(3):
            await hive.join()
        await until(lambda: len(first.ledger.status().voters) == 4, "four vote")
        for node in hive.nodes:
            address = show(hive.network.address(node.id))
            facts = RegisterNode(
                id=node.id, name=node.name, cpus=4.0, memory=2**33, runtimes=(), addresses=(address,)
            )
            await node.submit(facts, by=node.identity)
        peers = hive.network.peers(NEWCOMER.public)  # of the hive, as all of this network
        wire: Any = SimpleNamespace(peers=peers, enter=lambda hive, secret: None, allowed=None)
        belonging = Belonging(
            hive=HIVE, name="test", secret=SECRET, known={first.id: (hive.network.address(first.id),)}
        )
        async with asyncio.timeout(20):
            ledger = await rehearse(
                tmp_path / "new", handover, NEWCOMER, milliseconds, wire, belonging,
                adopted=False, settings=ClusterSettings(),
            )  # fmt: skip
        assert len(ledger.status().voters) == 4
        assert ledger.state.sequence == first.ledger.state.sequence
        await ledger.close()
