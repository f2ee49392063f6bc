"""Several ledgers in one loop: whatever happens to some of them, all that go on have the same state, and whoever was
told that something is agreed finds it there, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from hivemind.errors import Conflict, Forbidden, Unavailable
from hivemind.ledger.contract import Batch
from ledgers import PERSON, hive_in, until

pytestmark = pytest.mark.anyio


async def test_one_node_then_two_then_three(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        first = await hive.found()
        assert first.ledger.status().engine == "local"
        second = await hive.join()
        await until(lambda: len(second.ledger.status().voters) == 2, "both vote")
        assert first.ledger.status().engine == second.ledger.status().engine == "pbft"
        await first.put("a")
        await second.put("b")
        third = await hive.join(second)
        await third.put("c")
        await hive.agree()
        assert first.projects == second.projects == third.projects == {"a", "b", "c"}
        await until(lambda: third.ledger.status().role == "voter", "the third votes")
        status = third.ledger.status()
        assert status.can_decide and status.role == "voter" and not status.why_not


@pytest.mark.parametrize("count", [2, 3, 4])
async def test_operations_from_all_nodes_are_done_once(tmp_path: Path, count: int) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(count)
        batches: list[Batch] = []
        nodes[0].ledger.subscribe(batches.append)
        wishes = [node.put(f"p{i}-{node.name}") for i in range(20) for node in nodes]
        receipts = await asyncio.gather(*wishes)
        assert len({(receipt.sequence, receipt.outcome.id) for receipt in receipts}) == 20 * count
        await hive.agree()
        assert len(nodes[-1].projects) == 20 * count
        done = [envelope.nonce for batch in batches for envelope in batch.envelopes]
        assert len(done) == len(set(done)) == 20 * count


async def test_a_refusal_is_the_same_everywhere(tmp_path: Path) -> None:
    from hivemind.model.project import ProjectManifest
    from hivemind.security.identity import Identity
    from hivemind.state.operations import PutProject

    async with hive_in(tmp_path) as hive:
        for node in await hive.grow(2):
            with pytest.raises(Forbidden, match="not known"):
                await node.submit(PutProject(manifest=ProjectManifest(name="x")), by=Identity(bytes(32)))


async def test_the_same_operation_through_two_nodes_is_done_once(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(3)
        receipts = await asyncio.gather(*(node.put("shop", nonce="same") for node in nodes))
        assert {receipt.outcome.id for receipt in receipts} == {"shop"}
        await hive.agree()
        assert nodes[0].ledger.state.projects["shop"].version == 1
        again = await nodes[1].put("shop", nonce="same")
        assert again.outcome == receipts[0].outcome


async def test_a_killed_voter_does_not_stop_the_others_and_comes_back(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(4)
        for victim in (nodes[0], nodes[2]):
            await victim.kill()
            rest = [node for node in nodes if node.alive]
            await asyncio.gather(*(node.put(f"without-{victim.name}-{node.name}") for node in rest))
            await victim.start()
            await victim.put(f"back-{victim.name}")
            await hive.agree()
        assert len(nodes[0].projects) == 8


async def test_seven_survive_two(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(7)
        await nodes[1].kill()
        await nodes[4].kill()
        rest = [node for node in nodes if node.alive]
        await asyncio.gather(*(node.put(f"p-{node.name}") for node in rest))
        await nodes[1].start()
        await nodes[1].put("back")
        await hive.agree()
        assert len(nodes[1].projects) == 6


async def test_a_minority_decides_nothing_says_so_and_catches_up(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(4)
        hive.network.part([nodes[0].id], [node.id for node in nodes[1:]])
        with pytest.raises(Unavailable) as refusal:
            await nodes[0].put("alone")
        assert "n1, n2, n3" in refusal.value.message and refusal.value.hint
        assert not nodes[0].ledger.status().can_decide
        await asyncio.gather(*(node.put(f"p-{node.name}") for node in nodes[1:]))
        hive.network.mend()
        await nodes[0].put("healed")
        await hive.agree()
        assert nodes[0].projects >= {"p-n1", "p-n2", "p-n3", "healed"}


async def test_two_halves_decide_nothing_until_they_meet(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(4)
        hive.network.part([node.id for node in nodes[:2]], [node.id for node in nodes[2:]])
        for node in nodes:
            with pytest.raises(Unavailable):
                await node.put(f"half-{node.name}")
        hive.network.mend()
        await asyncio.gather(*(node.put(f"whole-{node.name}") for node in nodes))
        await hive.agree()


async def test_with_two_voters_the_survivor_says_that_it_cannot_decide(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(2)
        await nodes[1].kill()
        with pytest.raises(Unavailable, match="1 of 2 voters are there and 2 are needed"):
            await nodes[0].put("x")
        await nodes[1].start()
        await nodes[0].put("y")
        await hive.agree()


def _more_than(told: set[str], count: int) -> Callable[[], bool]:
    return lambda: len(told) > count


async def test_a_power_cut_of_all_at_once_loses_nothing_that_was_told(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(4)
        told: set[str] = set()

        async def wish(name: str, index: int) -> None:
            await nodes[index % 4].put(name)
            told.add(name)

        for turn in range(3):
            wishes = [asyncio.ensure_future(wish(f"p{turn}-{i}", i)) for i in range(40)]
            await until(_more_than(told, 40 * turn + 10), "some are told")
            for node in nodes:
                await node.kill()
            await asyncio.gather(*wishes, return_exceptions=True)
            for node in nodes:
                await node.start()
            missing = [f"p{turn}-{i}" for i in range(40) if f"p{turn}-{i}" not in told]
            await asyncio.gather(*(nodes[i % 4].put(name) for i, name in enumerate(missing)))
            told |= set(missing)
            await hive.agree()
            assert nodes[0].projects == told


async def test_a_learner_follows_submits_and_is_promoted(tmp_path: Path) -> None:
    from hivemind.state.operations import ReadyToVote

    async with hive_in(tmp_path) as hive:
        await hive.grow(3)
        learner = await hive.join(vote=False)
        await learner.put("by-a-learner")
        assert learner.ledger.status().role == "learner"
        await learner.ledger.caught_up()
        await learner.submit(ReadyToVote(node=learner.id), by=learner.identity)
        await until(lambda: learner.ledger.status().role == "voter", "it votes")
        await hive.nodes[1].kill()
        await learner.put("by-a-voter")
        await hive.agree()


async def test_from_one_to_two_under_load_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        first = await hive.found()
        batches: list[Batch] = []
        first.ledger.subscribe(batches.append)
        told: list[str] = []
        over = asyncio.Event()

        async def client(number: int) -> None:
            turn = 0
            while not over.is_set():
                await first.put(f"p{number}-{turn}", nonce=f"c{number}-{turn}")
                told.append(f"p{number}-{turn}")
                turn += 1

        clients = [asyncio.ensure_future(client(number)) for number in range(8)]
        await until(lambda: len(told) > 50, "some are done alone")
        before = len(told)
        second = await hive.join()
        await until(lambda: len(second.ledger.status().voters) == 2, "both vote")
        after = len(told)
        await until(lambda: len(told) > after + 50, "some are done together")
        over.set()
        await asyncio.gather(*clients)
        await hive.agree()
        assert after > before > 0
        assert set(told) <= second.projects
        numbers = [batch.sequence for batch in batches]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        done = [e.nonce for batch in batches for e in batch.envelopes if e.nonce.startswith("c")]
        assert len(done) == len(set(done))
        assert {first.ledger.state.projects[name].version for name in told} == {1}


async def test_a_node_that_was_away_for_long_fetches_the_state(tmp_path: Path) -> None:
    from hivemind.ledger.journal import Settings

    async with hive_in(tmp_path, settings=Settings(checkpoint_batches=10)) as hive:
        nodes = await hive.grow(4)
        await nodes[3].kill()
        gone = nodes[3].ledger.state.sequence
        while nodes[0].ledger.state.sequence < gone + 80:
            await asyncio.gather(*(node.put(f"p{nodes[0].ledger.state.sequence}") for node in nodes[:3]))
        await nodes[3].start()
        installed: list[int] = []
        nodes[3].ledger.subscribe(lambda batch: installed.append(batch.sequence))
        await hive.agree()
        assert installed[0] > gone + 40
        await nodes[3].put("back")
        await nodes[3].stop()
        await nodes[3].start()
        await hive.agree()


async def test_closing_refuses_what_is_not_decided(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(2)
        hive.network.part([nodes[0].id], [nodes[1].id])
        waiting = asyncio.ensure_future(nodes[0].put("x"))
        await asyncio.sleep(0.05)
        await nodes[0].stop()
        with pytest.raises(Unavailable, match="shutting down"):
            await waiting


async def test_a_cancelled_caller_takes_nobody_along(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(2)
        impatient = asyncio.ensure_future(nodes[0].put("shop", nonce="same"))
        patient = asyncio.ensure_future(nodes[0].put("shop", nonce="same"))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).outcome.id == "shop"


async def test_what_is_handed_over_has_to_add_up(tmp_path: Path) -> None:
    from msgspec.structs import replace

    from hivemind.errors import Corrupt
    from ledgers import Node

    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(2)
        good = await nodes[0].ledger.handover()
        stranger = Node(hive, "stranger", 200)
        hive.nodes.append(stranger)
        await stranger.start()
        with pytest.raises(Conflict):
            await stranger.ledger.handover()
        before = stranger.ledger.state.digest()
        for wrong in (
            replace(good, snapshot=good.snapshot.replace(b'"n0"', b'"nX"')),
            replace(good, head=bytes(32)),
            replace(good, proof=good.proof[:-1] + bytes([good.proof[-1] ^ 1])),
            replace(good, trust=replace(good.trust, hive="another")),
            replace(good, trust=replace(good.trust, lineage=7)),
        ):
            with pytest.raises(Corrupt):
                await stranger.ledger.become(wrong)
        assert stranger.ledger.state.digest() == before and stranger.ledger.state.hive == "own-stranger"
        await stranger.stop()
        assert PERSON.public in nodes[0].ledger.state.principals


async def test_when_the_others_have_left_it_decides_alone_again(tmp_path: Path) -> None:
    from hivemind.state.operations import LeaveHive

    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(2)
        await nodes[1].submit(LeaveHive(node=nodes[1].id), by=nodes[1].identity)
        await until(lambda: nodes[0].ledger.status().engine == "local", "it decides alone")
        await nodes[1].stop()
        await nodes[0].put("alone")
        await nodes[0].stop()
        await nodes[0].start()
        assert nodes[0].ledger.status().engine == "local"
        third = await hive.join()
        await until(lambda: len(third.ledger.status().voters) == 2, "there are two again")
        await third.put("together")
        await until(lambda: nodes[0].projects == {"alone", "together"}, "both have it")


async def test_after_a_start_it_knows_when_it_has_what_the_others_have(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(4)
        await nodes[3].stop()
        for index in range(12):
            await nodes[0].put(f"p{index}")
        hive.network.part([nodes[3].id], [node.id for node in nodes[:3]])
        await nodes[3].start()
        waiting = asyncio.ensure_future(nodes[3].ledger.caught_up())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        hive.network.mend()
        await waiting
        assert len(nodes[3].projects) == 12
