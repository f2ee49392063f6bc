"""Membership of several nodes over channels and datagrams in memory; the loop's clock jumps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from hivemind.errors import Invalid
from hivemind.protocols.swim.events import Change, Failed, Joined, Left, Returned, Status, Suspected, Updated
from hivemind.protocols.swim.meta import Meta
from hivemind.transport.contract import Address
from hivemind.transport.fake import HIVE, FakeNetwork, FakePeers
from hivemind.transport.fake_datagrams import FakeDatagrams
from hivemind.transport.membership import SERVICE, Membership
from unit.protocols.swim.network import CheapSigner, cheap_verify
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    return VIRTUAL


class Wire(FakeNetwork):
    """Datagrams take some milliseconds, by how far apart two nodes are; some routes may swallow them."""

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.places: dict[str, float] = {}
        self.firewalled: set[str] = set()
        self.carried = 0

    def carry(self, sender: FakeDatagrams, to: Address, kind: str, message: bytes) -> None:
        receiver = self._datagrams.get(to)
        if receiver is None or {sender.node, receiver.node} & self.firewalled:
            return
        self.carried += 1
        apart = abs(self.places.get(sender.node, 0) - self.places.get(receiver.node, 0)) + 0.001
        asyncio.get_running_loop().call_later(apart, super().carry, sender, to, kind, message)


class Hive:
    def __init__(self) -> None:
        self.wire = Wire()
        self.allowed: set[str] = set()
        self.members: dict[str, Membership] = {}
        self.peers: dict[str, FakePeers] = {}
        self.told: list[tuple[str, Change]] = []
        self._changed = asyncio.Event()

    def start(
        self, node: str, *, at: Address | None = None, incarnation: int = 1, role: Any = "member"
    ) -> Membership:
        if node in self.members:
            self.members[node].close()
        self.allowed.add(node)
        peers = self.peers[node] = self.wire.peers(node, allowed=lambda other: other in self.allowed)
        made = self.members[node] = Membership(
            self.wire.datagrams(node),
            peers,
            CheapSigner(node),
            cheap_verify,
            random.Random(f"{node} {incarnation}"),
            hive=HIVE,
            allowed=lambda other: other in self.allowed,
            addresses=[at or self.wire.address(node)],
            meta=Meta(role=role),
            incarnation=incarnation,
        )
        made.on_change(lambda change: self._tell(node, change))
        self.wire.introduce()
        made.start()
        return made

    def _tell(self, node: str, change: Change) -> None:
        self.told.append((node, change))
        self._changed.set()

    def crash(self, node: str) -> None:
        self.members[node].close()
        self.peers[node].stop()
        del self.members[node]

    async def until(self, true: Callable[[], bool], within: float = 30) -> float:
        """Seconds until it was."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(within):
            while not true():
                self._changed.clear()
                await self._changed.wait()
        return loop.time() - began

    def complete(self) -> bool:
        return all(one.reachable == set(self.members) - {node} for node, one in self.members.items())

    async def together(self, *nodes: str) -> None:
        for node in nodes:
            self.start(node)
        for node in nodes:
            self.members[node].meet(nodes)
        await self.until(self.complete)


@pytest.fixture
async def hive() -> AsyncIterator[Hive]:
    made = Hive()
    yield made
    for member in made.members.values():
        member.close()
    for peers in made.peers.values():
        await peers.close()


Names = tuple[str, ...]
TEN: Names = tuple(f"n{number}" for number in range(10))


async def test_all_find_each_other_through_one(hive: Hive) -> None:
    for node in TEN:
        hive.start(node).meet(["n0"])
    assert await hive.until(hive.complete) < 2
    assert hive.members["n3"].meta("n7") == Meta(role="member")
    assert hive.members["n3"].addresses("n7") == (hive.wire.address("n7"),)


async def test_a_crash_is_known_to_all_within_five_seconds(hive: Hive) -> None:
    await hive.together(*TEN)
    hive.crash("n4")
    took = await hive.until(lambda: all(one.status("n4") == Status.FAILED for one in hive.members.values()))
    assert took <= 5
    failed = [change for _, change in hive.told if isinstance(change, Failed)]
    assert {change.node for change in failed} == {"n4"}
    assert all(len(change.by) >= 2 for change in failed)
    assert sum(change.seen for change in failed) >= 5
    assert {node for node, one in hive.members.items() if one.unreached} == {
        who for who, change in hive.told if isinstance(change, Failed) and change.seen
    }
    assert hive.complete()


async def test_a_broken_connection_is_looked_into_at_once(hive: Hive) -> None:
    """Nobody is accused when only the connection broke."""
    await hive.together("a", "b", "c")
    hive.wire.disconnect("a", "b")
    before = len(hive.told)
    await asyncio.sleep(10)
    assert not [change for _, change in hive.told[before:] if isinstance(change, Suspected)]


async def test_connections_alone_suffice(hive: Hive) -> None:
    hive.wire.firewalled = {"b"}
    await hive.together("a", "b")
    await asyncio.sleep(20)
    assert hive.complete()
    assert not [change for _, change in hive.told if isinstance(change, Suspected | Failed)]


async def test_leaving_is_no_failure(hive: Hive) -> None:
    await hive.together("a", "b", "c", "d")
    await hive.members["b"].leave()
    hive.crash("b")
    await asyncio.sleep(10)
    assert {node for node, change in hive.told if change == Left("b")} == {"a", "c", "d"}
    assert not [change for _, change in hive.told if isinstance(change, Suspected)]
    assert hive.complete()


async def test_leaving_alone_takes_no_time(hive: Hive) -> None:
    member = hive.start("a")
    before = asyncio.get_running_loop().time()
    await member.leave()
    assert asyncio.get_running_loop().time() == before


async def test_who_comes_back_is_returned(hive: Hive) -> None:
    """Also with its old incarnation: it is shown what it had."""
    await hive.together("a", "b", "c", "d")
    hive.crash("b")
    await hive.until(lambda: all(one.status("b") == Status.FAILED for one in hive.members.values()))
    hive.start("b", incarnation=1).meet(["a"])
    assert await hive.until(hive.complete) < 2
    returned = [change for _, change in hive.told if isinstance(change, Returned) and change.node == "b"]
    assert {change.was for change in returned} == {Status.FAILED}


async def test_a_partition_heals_within_seconds(hive: Hive) -> None:
    await hive.together(*TEN)
    hive.wire.part(TEN[:5], TEN[5:])

    def both_sides_failed_each_other() -> bool:
        return all(
            hive.members[one].status(other) == Status.FAILED
            and hive.members[other].status(one) == Status.FAILED
            for one in TEN[:5]
            for other in TEN[5:]
        )

    await hive.until(both_sides_failed_each_other)
    hive.wire.mend()
    assert await hive.until(hive.complete) < 4


async def test_who_is_expelled_is_gone(hive: Hive) -> None:
    await hive.together("a", "b", "c")
    hive.allowed.discard("c")
    hive.members["a"].review()
    assert hive.members["a"].status("c") is None
    assert hive.members["a"].reachable == {"b"}
    await asyncio.sleep(5)
    assert hive.members["a"].status("c") is None
    assert ("a", Left("c")) in hive.told


async def test_strangers_are_not_heard(hive: Hive) -> None:
    await hive.together("a", "b")
    hive.start("z").meet(["a"])
    hive.allowed.discard("z")
    await asyncio.sleep(5)
    assert hive.members["a"].reachable == {"b"}


async def test_datagrams_follow_who_answers_not_who_claims(hive: Hive) -> None:
    """b says that it is where c is, and never answers from there: it is found where its own datagrams come from,
    and c is not taken for b."""
    hive.start("a")
    hive.start("b", at=hive.wire.address("c"))
    hive.start("c")
    hive.wire.introduce()
    for node in "abc":
        hive.members[node].meet("abc")
    await hive.until(hive.complete)
    await asyncio.sleep(10)
    assert hive.complete()
    assert hive.members["a"].addresses("b")[-1] == hive.wire.address("c")
    hive.crash("b")
    await hive.until(lambda: hive.members["a"].status("b") == Status.FAILED)
    assert hive.members["a"].reachable == {"c"}


async def test_announcing_reaches_all(hive: Hive) -> None:
    await hive.together("a", "b", "c")
    hive.members["a"].announce(addresses=[("10.9.9.9", 1), hive.wire.address("a")])
    await hive.until(lambda: sum(isinstance(change, Updated) for _, change in hive.told) == 2)
    assert hive.members["c"].addresses("a")[-1] == hive.wire.address("a")
    assert hive.peers["c"].known["a"][0] == ("10.9.9.9", 1)
    with pytest.raises(Invalid):
        hive.members["a"].announce(addresses=[("x" * 65, 1)])
    await asyncio.sleep(5)
    assert hive.complete()


async def test_distances_are_told_between_any_two(hive: Hive) -> None:
    hive.wire.places = {"a": 0.0, "b": 0.001, "c": 0.05, "d": 0.051}
    await hive.together("a", "b", "c", "d")
    await asyncio.sleep(180)
    near, far = hive.members["a"].distance("c", "d"), hive.members["a"].distance("b", "c")
    assert near is not None and far is not None
    assert near < 0.03 < far < 0.2
    assert hive.members["a"].distance("a", "nobody") is None
    assert hive.members["a"].distance("a", "b") == hive.members["a"].distance("b", "a")
    told = hive.members["a"].meta("c")
    assert told is not None and told.coordinate, "who never pings c hears where it is by gossip"


async def test_rubbish_is_dropped(hive: Hive) -> None:
    await hive.together("a", "b")
    for rubbish in (b"", b"\xc1", b"\x93\x01", bytes(1000)):
        hive.peers["b"].send("a", SERVICE, rubbish)
        hive.wire._datagrams[hive.wire.address("b")].send(hive.wire.address("a"), "swim", rubbish)
    await asyncio.sleep(3)
    assert hive.complete()


async def test_what_a_callback_raises_harms_nobody(hive: Hive) -> None:
    hive.start("b")
    member = hive.start("a")

    def fail(change: Change) -> None:
        raise RuntimeError(change.node)

    undo = member.on_change(fail)
    member.meet(["b"])
    await hive.until(hive.complete)
    undo()
    assert ("a", "b") in {(node, change.node) for node, change in hive.told if isinstance(change, Joined)}


async def test_alone_it_sleeps(hive: Hive) -> None:
    member = hive.start("a")
    assert member._timer is None
    hive.start("b").meet(["a"])
    await hive.until(hive.complete)
    assert member._timer is not None


async def test_after_closing_nothing_is_heard_or_done(hive: Hive) -> None:
    await hive.together("a", "b")
    hive.members["b"].close()
    hive.members["a"].close()
    before = hive.wire.carried
    await asyncio.sleep(10)
    assert hive.wire.carried == before
