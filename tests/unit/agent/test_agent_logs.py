"""The log of an allocation over its instances."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent_rig import Rig, rig
from hivemind.drivers.runtimes.contract import ExecSpec, LogQuery
from hivemind.errors import Conflict, NotFound
from hivemind.model.app import Restart
from hivemind.state.operations import DeleteApp, StopApp
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio
CHATTY = ("sh", "-c", "for n in 1 2 3; do echo $n; sleep 1; done; while :; do sleep 99; done")


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


async def read(box: Rig, query: LogQuery) -> list[str]:
    assert box.agent
    return [line.text async for line in box.agent.logs(box.newest.id, query)]


async def twice(box: Rig) -> None:
    """An allocation whose first instance said 1 2 3 and whose second did too."""
    await box.start()
    box.deploy(command=CHATTY)
    await box.healthy()
    await box.rest(5)
    box.machine.crash(f"{box.newest.id}.0")
    await box.until(lambda: box.status().instance == 1)
    await box.rest(5)


async def test_it_is_that_of_all_instances_kept(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await twice(box)
        assert await read(box, LogQuery()) == ["1", "2", "3", "1", "2", "3"]
        assert await read(box, LogQuery(tail=2)) == ["2", "3"]
        assert await read(box, LogQuery(tail=4)) == ["3", "1", "2", "3"]
        assert await read(box, LogQuery(tail=0)) == []
        assert await read(box, LogQuery(tail=99)) == ["1", "2", "3", "1", "2", "3"]


@pytest.mark.parametrize(
    ("tail", "before"), [(None, ["1", "2", "3"] * 2), (1, ["3"]), (4, ["3", "1", "2", "3"]), (0, [])]
)
async def test_following_goes_on_with_the_next_instance_until_none_can_come(
    tmp_path: Path, tail: int | None, before: list[str]
) -> None:
    async with rig(tmp_path) as box:
        await twice(box)
        reading = asyncio.ensure_future(read(box, LogQuery(follow=True, tail=tail)))
        await box.rest(1)
        box.machine.crash(f"{box.newest.id}.1")
        await box.rest(40)
        assert not reading.done()
        box.do(StopApp(project="default", name="web"))
        assert await reading == [*before, "1", "2", "3"]


async def test_following_ends_when_the_allocation_is_forgotten(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(command=("sh", "-c", "echo bye"), restart=Restart(policy="no"))
        await box.phase(box.status().phase)
        reading = asyncio.ensure_future(read(box, LogQuery(follow=True)))
        box_id = box.newest.id
        await box.rest(1)
        box.do(DeleteApp(project="default", name="web"))
        assert await reading == ["bye"]
        await box.until(lambda: not box.hive.state.apps)
        await box.rest(1)
        assert box.agent
        with pytest.raises(NotFound, match="is not on this node"):
            box.agent.logs(box_id, LogQuery())


async def test_what_does_not_run_cannot_be_entered_or_measured(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        agent = await box.start()
        box.deploy()
        await box.healthy()
        assert (await agent.stats(box.newest.id)).pids == 1
        session = await agent.exec(box.newest.id, ExecSpec(args=("echo", "hello")))
        assert await session.read() == ("stdout", b"hello\n")
        await session.close()
        box.do(StopApp(project="default", name="web"))
        await box.until(lambda: not box.hive.live())
        with pytest.raises(Conflict, match="does not run"):
            await agent.exec(box.newest.id, ExecSpec(args=("echo",)))
        with pytest.raises(Conflict, match="does not run"):
            await agent.stats(box.newest.id)
