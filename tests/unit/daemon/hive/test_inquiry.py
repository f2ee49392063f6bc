"""How a node that was away when it was removed from its hive hears of it, and whom it does not believe."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pytest

from hivemind.daemon.hive import door, inquiry
from hivemind.daemon.hive.inquiry import Inquiry, needed, told
from hivemind.daemon.hive.sponsor import Sponsor
from hivemind.ledger.hive import HiveLedger
from hivemind.model.hive import Expulsion
from hivemind.security.identity import Identity
from hivemind.state.operations import ExpelNode, LeaveHive, Operation
from hivemind.state.state import Outcome
from hivemind.transport.contract import Address, Contact
from hivemind.transport.fake import HIVE, SECRET
from tests.ledgers import Hive, Node, hive_in, milliseconds, until

pytestmark = pytest.mark.anyio


class World:
    """A hive of four; the last of them is away."""

    def __init__(self, hive: Hive) -> None:
        self.hive = hive
        self.away = hive.nodes[3]
        self.heard: list[Expulsion | None] = []
        self.asked: list[Address] = []
        self.silent = True
        self.looked = 0

    def is_silent(self) -> bool:
        self.looked += 1
        return self.silent

    async def removed(self, operation: Operation) -> None:
        await self.away.kill()
        await self.hive.nodes[0].submit(operation)
        await until(
            lambda: len(self.hive.nodes[0].ledger.status().voters) == 3, "the others decide without it"
        )
        await self.hive.agree()

    def open_doors(self, *nodes: Node) -> None:
        async def report(operation: Operation) -> Outcome:
            raise AssertionError("nothing is to be agreed")

        for node in nodes:
            sponsor = Sponsor(node=node.id, ledger=node.ledger, report=report, vault=lambda: b"", peers=dict)
            node.peers.welcome(sponsor.welcome)

    async def listens(self, *others: Node) -> Inquiry:
        """It is back, nobody takes its connection, and it asks these, in each round again."""
        ledger = await HiveLedger.open(
            self.away.directory, hive="own", signer=self.away.identity, clock=milliseconds
        )
        self.away.ledger, self.away.alive = ledger, True
        self.peers = self.away.peers = self.hive.network.peers(self.away.id)
        network = self.hive.network

        async def contact(address: Address) -> Contact:
            self.asked.append(address)
            return await self.peers.contact(address, HIVE, SECRET, timeout=5)

        def there() -> Mapping[str, tuple[Address, ...]]:
            return {node.id: (network.address(node.id),) for node in others}

        made = Inquiry(
            node=self.away.id, ledger=ledger, silent=self.is_silent, others=there, contact=contact,
            removed=self.heard.append,
        )  # fmt: skip
        made.start()
        return made


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(inquiry, "_PAUSE", 0.01)
    async with hive_in(tmp_path) as hive:
        await hive.grow(4)
        yield World(hive)


async def test_who_was_expelled_while_it_was_away_hears_by_whom_and_why(world: World) -> None:
    await world.removed(ExpelNode(node="n3", reason="stolen"))
    world.open_doors(*world.hive.nodes[:3])
    asks = await world.listens(*world.hive.nodes[:3])
    await until(lambda: bool(world.heard), "it hears of it")
    [expulsion] = world.heard
    assert expulsion and (expulsion.name, expulsion.by, expulsion.reason) == ("n3", "person", "stolen")
    assert "expelled by person: stolen" in told(expulsion)
    assert world.away.id in world.away.ledger.state.nodes  # of its own it knows nothing of that
    await asks.stop()


async def test_who_was_let_go_hears_it_by_those_that_vote_now(world: World) -> None:
    """One of the two that answer was no voter of the last epoch that it knows."""
    await world.removed(LeaveHive(node="n3", force=True))
    late = await world.hive.join()
    await until(lambda: len(late.ledger.status().voters) == 4, "the new one votes")
    await world.hive.agree()
    world.open_doors(world.hive.nodes[0], late)
    asks = await world.listens(world.hive.nodes[0], late)
    await until(lambda: bool(world.heard), "it hears of it")
    assert world.heard == [None] and "new token" in told(None)
    await asks.stop()


async def test_one_voter_is_not_believed(world: World) -> None:
    await world.removed(ExpelNode(node="n3"))
    world.open_doors(world.hive.nodes[1])
    asks = await world.listens(*world.hive.nodes[:3])
    await until(lambda: bool(asks.doubt), "people are told")
    assert "not enough" in asks.doubt and "--force" in asks.doubt
    await until(lambda: len(world.asked) > 9, "it has asked again")
    assert not world.heard
    world.silent = False
    await until(lambda: not asks.doubt, "it hears of its hive again")
    await asks.stop()


@pytest.mark.parametrize("later", [True, False])
async def test_who_belongs_to_the_hive_is_not_talked_out_of_it(world: World, later: bool) -> None:
    """By one voter that lies and others that never were any; nor by honest ones of a time before it was let in."""
    await world.away.kill()
    world.open_doors(*world.hive.nodes[:1])
    strangers = [Identity(bytes([number]) * 32) for number in (201, 202, 203)]
    liars = [world.hive.nodes[1], *([] if later else [world.hive.nodes[2]])]
    sequence = world.hive.nodes[0].ledger.state.sequence + 10 if later else 1

    async def lie(contact: Contact) -> None:
        assert isinstance(await door.hear(contact), door.Inquire)
        await door.say(contact, door.Removed(sequence, b"{}", (b"nonsense", msgspec.msgpack.encode([1]))))
        await contact.finish()
        await contact.receive()

    for node in liars:
        node.peers.welcome(lie)
    doors = [world.hive.network.peers(stranger.public) for stranger in strangers]
    for peers in doors:
        peers.welcome(lie)
    asks = await world.listens(world.hive.nodes[0], *liars)
    inner = asks._others
    asks._others = lambda: {**inner(), **{peers.node: (peers.address,) for peers in doors}}
    await until(lambda: len(world.asked) > 20, "it has asked all of them")
    assert not world.heard
    assert bool(asks.doubt) is later
    await asks.stop()


@pytest.mark.parametrize(("voters", "count"), [(1, 1), (2, 1), (3, 2), (4, 2), (6, 2), (7, 3), (10, 4)])
def test_so_many_must_say_so(voters: int, count: int) -> None:
    assert needed([str(number) for number in range(voters)], "0") == (count if voters > 1 else 1)


async def test_nobody_is_asked_by_a_node_that_hears_of_its_hive(world: World) -> None:
    world.open_doors(*world.hive.nodes[:3])
    await world.away.kill()
    world.silent = False
    asks = await world.listens(*world.hive.nodes[:3])
    await until(lambda: world.looked > 5, "it has looked whether it hears of it")
    assert not world.asked
    world.silent = True
    await until(lambda: len(world.asked) >= 3, "it asks")
    assert not world.heard and not asks.doubt
    await asks.stop()
