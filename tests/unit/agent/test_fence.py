"""What a node does while it does not know what the others have decided."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent_rig import IDENTITY, STUBBORN, Rig, rig
from hivemind.model.allocation import AllocationState, AllocationStatus, Phase
from hivemind.model.app import Restart
from hivemind.model.base import encode
from hivemind.model.network import Port
from hivemind.model.template import Stop
from hivemind.protocols.autobee.entry import Entry
from hivemind.security.identity import Identity
from hivemind.state.fencing import CONTACT
from hivemind.state.operations import ScaleApp
from task_rig import task_box
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


class Others:
    """What the ledger hears of them."""

    def __init__(self, box: Rig, *, told: bool = True) -> None:
        self.told = asyncio.Event()
        if told:
            self.told.set()
        self.is_behind = False
        self._box, self._cut = box, 0.0
        box.hearing = self

    def cut(self) -> None:
        self._cut = self._box.loop.time()
        self.told.clear()

    def mend(self) -> None:
        self._cut = 0.0

    async def caught_up(self) -> None:
        await self.told.wait()

    def behind(self) -> bool:
        return self.is_behind

    def silence(self) -> float:
        return self._box.loop.time() - self._cut if self._cut else 0.0


def lose(box: Rig, id: str) -> None:
    """The hive has given up the node on which it was; as a batch of others says."""
    state = box.hive.state
    lost = replace(state.allocations[id], state=AllocationState.LOST, reason="node node-0 is lost")
    state.tables.put(state.allocations, id, lost)
    state.dirty.add(lost.app)


async def test_nothing_new_is_begun_before_it_has_heard_what_was_decided(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        others = Others(box, told=False)
        await box.start()
        box.deploy()
        await box.rest(60)
        assert not box.running() and not box.calls("pull", "create")
        assert box.status().phase is Phase.WAITING and "decided without" in box.status().message
        others.told.set()
        await box.healthy()


async def test_what_runs_is_adopted_and_healed_all_the_same(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        others = Others(box)
        await box.start()
        box.deploy()
        await box.healthy()
        [first] = box.running()
        await box.kill()
        others.cut()
        await box.start()
        await box.rest(300)
        assert box.running() == [first] and box.status().ready
        box.machine.crash(first)
        await box.until(lambda: box.running() and box.status().ready)
        assert box.status().instance == 1


async def test_after_a_reboot_in_a_minority_it_begins_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        others = Others(box)
        await box.start()
        box.deploy()
        await box.healthy()
        others.cut()
        await box.reboot()
        await box.rest(60)
        assert not box.running()
        others.mend()
        others.told.set()
        await box.until(lambda: box.status().ready)


async def test_decisions_that_come_late_are_all_known_before_one_is_acted_on(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        others = Others(box)
        await box.start()
        others.is_behind = True
        box.deploy()
        await box.rest(60)
        assert not box.running()
        lose(box, box.newest.id)
        others.is_behind = False
        box.do(ScaleApp(project="default", name="web", replicas=1))
        lost, new = box.allocations
        await box.until(lambda: box.status(new.id).ready)
        assert not [id for _, id in box.machine.calls if id.startswith(lost.id)]


async def test_what_was_taken_ends_before_anything_new_begins(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        others = Others(box)
        await box.start()
        box.deploy(command=STUBBORN, stop=Stop(grace=20))
        await box.healthy()
        taken = box.newest.id
        await box.kill()
        others.told.clear()
        lose(box, taken)
        box.deploy("other")
        await box.start()
        began = box.loop.time()
        await box.rest(10)
        assert box.running() == [f"{taken}.0"], "it is given its grace"
        others.told.set()
        await box.until(lambda: any(not id.startswith(taken) for id in box.running()))
        assert box.loop.time() - began >= 20
        assert not box.running(taken)


async def test_who_is_cut_off_stops_what_must_not_run_twice_and_nothing_else(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        others = Others(box)
        await box.start()
        port = (Port(container=80, host=8080),)
        box.deploy("twin", on_partition="stop", ports=port, restart=Restart(policy="no"))
        box.deploy("free", on_partition="keep")
        await box.until(lambda: all(a.state is AllocationState.HEALTHY for a in box.allocations))
        twin, free = (next(a for a in box.allocations if a.app_name == name) for name in ("twin", "free"))
        others.cut()
        await box.rest(CONTACT / 1000 - 2)
        assert box.running(twin.id) and box.published(8080)
        await box.until(lambda: not box.running(twin.id), 5)
        assert box.status(twin.id).phase is Phase.WAITING and "cut off" in box.status(twin.id).message
        assert not box.published(8080) and twin.id not in box.network.attachments()
        await box.rest(600)
        assert len(box.running()) == 1 and box.running(free.id) and box.status(free.id).ready
        assert box.hive.state.allocations[twin.id].state is AllocationState.HEALTHY, "nothing was given up"
        others.mend()
        await box.rest(60)
        assert not box.running(twin.id), "it has not heard yet whether it may"
        others.told.set()
        await box.until(lambda: box.status(twin.id).ready)
        await box.until(lambda: box.published(8080))
        box.machine.crash(box.running(twin.id)[0])
        await box.until(lambda: box.hive.state.allocations[twin.id].state is AllocationState.FAILED)


async def test_what_was_given_to_others_meanwhile_is_not_started_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        others = Others(box)
        await box.start()
        box.deploy(on_partition="stop")
        await box.healthy()
        id = box.newest.id
        others.cut()
        await box.until(lambda: not box.running())
        lose(box, id)
        others.mend()
        others.told.set()
        await box.rest(60)
        assert not box.running(id)


async def test_a_silence_shorter_than_the_window_stops_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        others = Others(box)
        await box.start()
        box.deploy(on_partition="stop")
        await box.healthy()
        [running] = box.running()
        others.cut()
        await box.rest(CONTACT / 1000 - 2)
        others.mend()
        others.told.set()
        await box.rest(60)
        assert box.running() == [running]


# -- several who write -------------------------------------------------------------------------------------------


def said(box: Rig, id: str, by: Identity, value: bytes) -> None:
    """Another node writes about an allocation, as the store shows it."""
    assert box.agent
    entry = Entry(key=f"allocation/{id}", value=value, writer=by.public, sequence=1, time=1)
    box.agent.endpoints._observe([entry])


async def test_only_the_word_of_its_own_node_counts(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(ports=(Port(container=80, host=8080),))
        await box.healthy()
        good = box.published(8080)
        liar = Identity(b"l" * 32)
        assert liar.public != IDENTITY.public
        said(box, box.newest.id, liar, b"not even JSON")
        await box.rest(1)
        assert box.published(8080) == good
        said(box, box.newest.id, liar, encode(AllocationStatus(ip="10.9.9.9", ready=True)))
        await box.rest(1)
        assert box.published(8080) == good
        said(box, box.newest.id, IDENTITY, encode(replace(box.status(), ready=False)))
        await box.until(lambda: not box.published(8080))


async def test_it_forgets_only_what_it_said_itself(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        box.store.put("allocation/gone", encode(AllocationStatus()))
        await box.start()
        assert box.store.get("allocation/gone") is None


async def test_an_attempt_of_a_task_is_not_begun_either(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        others = Others(tasks.box, told=False)
        await tasks.start()
        id = tasks.place(script="exit 0")
        await tasks.box.rest(60)
        assert not tasks.box.calls("create") and not tasks.reports
        others.told.set()
        assert (await tasks.reported(id)).state is AllocationState.COMPLETE
