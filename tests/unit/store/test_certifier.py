"""Voters certify what they have of the logs, and only superseded entries below that are cleared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hivemind.protocols.autobee.attesting import encode_attested
from hivemind.protocols.pbft.quorum import quorum
from hivemind.store.certifier import Certifier
from hivemind.store.shared import Settings, SharedStore
from tests.unit.store.links import Group

pytestmark = pytest.mark.anyio
QUICK = Settings(delay=0.005, repair=0.05, retry=0.05, waste=20)


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[Group]:
    made = Group(tmp_path, QUICK)
    yield made
    await made.close()


def certifiers(stores: list[SharedStore]) -> list[Certifier]:
    voters = [store.writer for store in stores]
    return [Certifier(store, lambda: voters, quorum) for store in stores]


async def filled(group: Group, count: int, first: int = 0) -> None:
    """One key is written again and again, in groups that are superseded at once."""
    for turn in range(first, first + count, 50):
        for number in range(turn, turn + 50):
            group.stores[0].put("k", b"%d" % number)
        await group.stores[0].flush()
    await group.agree()


async def looked(group: Group, chosen: list[Certifier]) -> None:
    """All say what they have, and all hear of it."""
    for _ in range(2):
        for each in chosen:
            each.look()
        await group.agree()


def floor(store: SharedStore, writer: str) -> int:
    return store._replica.clearable(writer)[0]


async def test_nothing_is_cleared_before_a_quorum_has_it_and_then_it_is(group: Group) -> None:
    stores = await group.start(4)
    all_of_them = certifiers(stores)
    for each in all_of_them:
        each.look()
    await filled(group, 150)
    await looked(group, all_of_them)
    owner = stores[0].writer
    assert {floor(store, owner) for store in stores} == {0}, "shorter than is worth a word"
    for store in stores:
        await store.flush()
        assert store._logs.bodies[owner] >= 150
    await filled(group, 200, first=150)
    await looked(group, all_of_them[:2])
    assert floor(stores[0], owner) == 0, "two of four are no quorum"
    await looked(group, all_of_them[:3])
    assert floor(stores[0], owner) == 256
    await looked(group, all_of_them)
    for store in stores:
        store.put(f"more/{store.writer[:4]}", b"1")
        await store.flush()
        assert store._logs.bodies[owner] < 200
    assert (await group.agree())["k"] == b"349"


async def test_who_starts_again_knows_it_at_once_and_an_outsider_is_believed_nothing(group: Group) -> None:
    stores = await group.start(5)
    voters = stores[:4]
    all_of_them = certifiers(voters)
    await filled(group, 300)
    await looked(group, all_of_them)
    owner = stores[0].writer
    await group.leave(stores[2])
    again = group.stores[2] = await group.open(2)
    group.wires.cut |= {frozenset((again.writer, store.writer)) for store in stores}
    group.join(again)
    Certifier(again, lambda: [store.writer for store in voters], quorum).look()
    assert floor(again, owner) == 256
    stranger = stores[4]
    Certifier(stranger, lambda: [store.writer for store in voters], quorum).look()
    assert floor(stranger, owner) == 256
    assert not [entry for entry in stranger.range("attested/") if entry.writer == stranger.writer]


async def test_what_somebody_else_says_in_a_voters_name_does_not_count(group: Group) -> None:
    stores = await group.start(4)
    await filled(group, 300)
    said = stores[0].attest()
    for store in stores[1:]:
        stores[0].put(f"attested/{store.writer}/{said[0].writer[0]}", encode_attested(said))
    await group.agree()
    certifiers(stores)[0].look()
    assert floor(stores[0], stores[0].writer) == 0


async def test_who_votes_no_more_takes_its_word_back(group: Group) -> None:
    stores = await group.start(4)
    await filled(group, 300)
    voters = [store.writer for store in stores]
    one = Certifier(stores[0], lambda: voters, quorum)
    one.look()
    assert list(stores[0].range("attested/"))
    voters.pop(0)
    one.look()
    assert not list(stores[0].range("attested/"))
