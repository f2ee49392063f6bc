"""What a new agent makes of what an earlier one left."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_rig import IMAGE, rig
from hivemind.drivers.runtimes.contract import Container, ContainerSpec
from hivemind.drivers.runtimes.fake import FakeMachine, FakeRuntime
from hivemind.errors import Unavailable
from hivemind.model.allocation import AllocationState, Phase
from hivemind.model.app import Restart
from hivemind.model.check import Check, CommandProbe
from hivemind.model.network import Port
from hivemind.model.template import Stop
from hivemind.state.operations import DeleteApp, ScaleApp, StopApp
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


async def test_what_runs_goes_on_running_and_stays_ready(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(ports=(Port(container=80, host=8080),))
        await box.healthy()
        [container], pid = box.running(), box.status().pid
        served = box.published(8080)
        await box.kill()
        box.machine.calls.clear()
        await box.start()
        await box.rest()
        assert box.running() == [container]
        assert box.calls("create", "start", "stop", "remove") == []
        assert (box.status().ready, box.status().pid, box.status().restarts) == (True, pid, 0)
        assert box.published(8080) == served


async def test_a_checked_replica_stays_ready_until_a_probe_says_otherwise(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(check=Check(probe=CommandProbe(command=("true",)), interval=60))
        await box.healthy()
        await box.kill()
        box.machine.delays["exec"] = 1.5
        unready = []
        box.store.subscribe("allocation/", lambda _: unready.append(1) if not box.status().ready else None)
        await box.start()
        await box.rest(100)
        assert not unready


async def test_one_that_was_only_created_is_made_anew(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.machine.delays["start"] = 100
        box.deploy()
        await box.until(lambda: box.machine.containers)
        await box.kill()
        box.machine.delays.clear()
        await box.start()
        await box.healthy()
        assert box.calls("create", "start", "remove") == [
            ("create", "0"), ("start", "0"), ("remove", "0"), ("create", "0"), ("start", "0")
        ]  # fmt: skip


async def test_one_that_ended_meanwhile_keeps_its_exit_code(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy()
        await box.healthy()
        await box.kill()
        box.machine.crash(f"{box.newest.id}.0", code=42)
        await box.start()
        await box.until(lambda: box.status().instance == 1 and box.status().ready)
        last = box.status().last
        assert last and (last.instance, last.exit_code, last.reason) == (0, 42, "exit code 42")


async def test_a_one_shot_that_ended_meanwhile_is_reported_with_its_exit_code(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(restart=Restart(policy="no"))
        await box.healthy()
        await box.kill()
        box.machine.crash(f"{box.newest.id}.0", code=3)
        await box.start()
        await box.until(lambda: box.newest.state is AllocationState.FAILED)
        assert box.newest.exit_code == 3


async def test_an_ending_is_told_once_however_often_the_daemon_starts(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(restart=Restart(policy="no"))
        await box.healthy()
        box.machine.crash(f"{box.newest.id}.0", code=3)
        await box.until(lambda: box.newest.state is AllocationState.FAILED)
        for _ in range(3):
            await box.kill()
            await box.start()
            await box.rest()
        assert [e.message for e in box.events() if e.type == "allocation.exited"] == [
            "instance 0: exit code 3"
        ]


async def test_an_ending_is_told_once_though_the_daemon_starts_in_the_middle_of_a_back_off(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(command=("false",))
        await box.until(lambda: len(box.calls("start")) == 6)
        await box.phase(Phase.BACKOFF)
        await box.rest(1)
        await box.kill()
        await box.start()
        await box.until(lambda: len(box.calls("start")) == 8)
        told = [e.message for e in box.events() if e.type == "allocation.exited"]
        assert len(told) == len(set(told))


async def test_retries_are_counted_over_daemon_restarts_and_beyond_the_instances_kept(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(restart=Restart(policy="on-failure", retries=5))
        for instance in range(6):
            await box.until(lambda n=instance: f"{box.newest.id}.{n}" in box.running())  # type: ignore[misc]
            await box.kill()
            box.machine.crash(f"{box.newest.id}.{instance}")
            await box.start()
        await box.until(lambda: box.newest.state is AllocationState.FAILED)
        assert len(box.calls("start")) == 6
        assert sorted(box.machine.containers) == [f"{box.newest.id}.4", f"{box.newest.id}.5"]


async def test_what_the_hive_does_not_know_is_removed_and_what_is_not_ours_is_not_touched(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as box:
        earlier = FakeRuntime(box.machine)
        foreign = ("postgres", "my.db", "a.b.-1", "x.+1", "x. 1", "x.01", ".5")
        for id in ("unknown00000.0", "unknown00000.1", *foreign):
            await earlier.create(ContainerSpec(id=id, args=("sleep", "9999")))
            await earlier.start(id)
        await box.network.open()
        await box.network.attach("unknown00000", [])
        await box.start()
        await box.until(lambda: "unknown00000.1" not in box.machine.containers)
        assert sorted(box.machine.containers) == sorted(foreign)
        assert not box.network.attachments()


async def test_an_orphan_that_cannot_be_removed_does_not_keep_the_node_down(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        for id in ("unknown00000.0", "unknown00000.1"):
            await FakeRuntime(box.machine).create(ContainerSpec(id=id, args=("sleep", "9999")))
        box.machine.failures["remove"] = Unavailable("device or resource busy")
        await box.start()
        box.deploy()
        await box.healthy()
        await box.until(lambda: not [id for id in box.machine.containers if id.startswith("unknown")])


async def test_a_batch_that_is_agreed_while_it_starts_is_not_missed(tmp_path: Path) -> None:
    """A deadline may pass while the daemon is away; its batch comes with the first turn of the loop."""

    class Slow(FakeRuntime):
        async def list(self) -> list[Container]:
            found = await super().list()
            box.hive.do(ScaleApp(project="default", name="web", replicas=1))
            box.hive.do(DeleteApp(project="default", name="gone"))
            return found

    async with rig(tmp_path) as box:
        box.deploy(replicas=0)
        box.deploy("gone", replicas=0)
        await box.start(fake=Slow(box.machine))
        await box.healthy()


async def test_observations_that_were_lost_are_observed_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(ports=(Port(container=80, host=8080),))
        await box.healthy()
        before = box.status()
        await box.kill()
        box.store.delete(f"allocation/{box.newest.id}")
        await box.start()
        await box.until(lambda: box.status().ready)
        after = box.status()
        assert (after.ip, after.ports, after.pid, after.image_digest) == (
            before.ip, before.ports, before.pid, before.image_digest
        )  # fmt: skip
        await box.until(lambda: box.published(8080) == ((before.ip, 80),))


async def test_a_stop_that_was_interrupted_is_finished(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(stop=Stop(grace=50), command=("sh", "-c", "trap '' TERM ; while :; do sleep 9; done"))
        await box.healthy()
        box.do(StopApp(project="default", name="web"))
        await box.until(lambda: ("stop", "0") in box.calls("stop"))
        await box.rest(20)
        await box.kill()
        await box.start()
        await box.until(lambda: box.newest.state is AllocationState.STOPPED)
        assert box.newest.exit_code == 137


async def test_the_exit_code_of_a_stop_outlives_the_daemon(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy()
        await box.healthy()
        await box.kill()
        box.do(StopApp(project="default", name="web"))
        box.machine.crash(f"{box.newest.id}.0", code=143)
        await box.start()
        await box.until(lambda: box.newest.state is AllocationState.STOPPED)
        assert box.newest.exit_code == 143
        last = box.status().last
        assert last and last.exit_code == 143


class OtherRuntime(FakeRuntime):
    name = "other"


async def test_a_container_of_a_runtime_that_is_no_longer_its_own_is_removed(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy()
        await box.healthy()
        await box.kill()
        others, id = FakeMachine(box.loop.milliseconds), f"{box.newest.id}.0"
        others.add_image(IMAGE)
        await OtherRuntime(others).create(ContainerSpec(id=id, args=("sleep", "9999")))
        await OtherRuntime(others).start(id)
        await box.start(fake=FakeRuntime(box.machine), other=OtherRuntime(others))
        await box.until(lambda: not others.containers)
        assert box.running() == [id]


async def test_nobody_waits_for_a_runtime_that_is_gone(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy()
        await box.healthy()
        await box.kill()
        await box.start(other=OtherRuntime(FakeMachine(box.loop.milliseconds)))
        box.deploy("late")
        await box.until(lambda: box.newest.failing)
        assert "no fake runtime" in box.newest.reason
        box.do(DeleteApp(project="default", name="web"))
        box.do(DeleteApp(project="default", name="late"))
        await box.until(lambda: not box.hive.state.apps)
        await box.kill()
        await box.start()
        await box.until(lambda: not box.machine.containers)
        assert not box.network.attachments()
        assert not list(box.store.range("allocation/"))
