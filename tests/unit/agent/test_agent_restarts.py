"""Endings and what follows them: policies, back-off, memory, health."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from agent_rig import Rig, rig
from hivemind.drivers.network.contract import Published
from hivemind.drivers.runtimes.contract import RuntimeEvent
from hivemind.drivers.runtimes.fake import FakeRuntime
from hivemind.errors import Unavailable
from hivemind.model.allocation import AllocationState, Phase
from hivemind.model.app import Restart, Update
from hivemind.model.check import Check, CommandProbe
from hivemind.model.deployment import DeploymentState
from hivemind.model.network import Port
from hivemind.model.template import Resources, Stop
from hivemind.state.operations import ScaleApp, StopApp
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio
SICK = Check(probe=CommandProbe(command=("false",)), interval=1, retries=2)


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


async def starts(box: Rig, count: int) -> list[float]:
    """When each of the first `count` instances started, in seconds since the first."""
    seen: list[float] = []
    while len(seen) < count:
        await box.until(lambda: len(box.calls("start")) > len(seen))
        seen.append(box.loop.time())
    return [at - seen[0] for at in seen]


async def test_restarts_come_at_once_and_then_ever_later_up_to_a_minute(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(command=("false",))
        times = await starts(box, 12)
        pauses = [round(b - a, 1) for a, b in pairwise(times)]
        assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
        assert box.newest.failing
        assert len(box.reports) == 1, "one report, however often it ends"
        assert box.newest.reason == "exit code 1, again and again"


async def test_one_that_ran_well_starts_again_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy()
        for instance in range(5):
            await box.until(lambda n=instance: f"{box.newest.id}.{n}" in box.running(), 1)  # type: ignore[misc]
            await box.rest(31)
            box.machine.crash(f"{box.newest.id}.{instance}")
        await box.until(lambda: box.status().instance == 5, 1)
        assert not box.newest.failing


@pytest.mark.parametrize(
    ("policy", "retries", "code", "state", "runs"),
    [
        ("no", 0, 0, AllocationState.COMPLETE, 1),
        ("no", 0, 7, AllocationState.FAILED, 1),
        ("on-failure", 0, 0, AllocationState.COMPLETE, 1),
        ("on-failure", 2, 7, AllocationState.FAILED, 3),
    ],
)
async def test_the_policy_decides(
    tmp_path: Path, policy: str, retries: int, code: int, state: AllocationState, runs: int
) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        outcome = box.deploy(
            command=("sh", "-c", f"exit {code}"), restart=Restart(policy=policy, retries=retries)
        )  # type: ignore[arg-type]
        await box.until(lambda: box.newest.state is state)
        assert (len(box.calls("start")), box.newest.exit_code) == (runs, code)
        wanted = DeploymentState.FAILED if code else DeploymentState.SUCCEEDED
        await box.until(lambda: box.deployment(outcome)[0] is wanted)
        await box.rest(100)
        assert len(box.calls("start")) == runs
        assert not box.network.attachments()
        assert box.status().phase is Phase.ENDED


async def test_out_of_memory_is_called_by_its_name(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(resources=Resources(memory=64 * 2**20))
        await box.healthy()
        box.machine.crash(f"{box.newest.id}.0", code=137, oom=True)
        await box.until(lambda: box.status().last)
        last = box.status().last
        assert last and (last.oom, last.reason) == (True, "out of memory (limit 64MiB)")


async def test_an_exit_that_is_heard_before_the_start_returns(tmp_path: Path) -> None:
    class Hasty(FakeRuntime):
        async def start(self, id: str) -> int:
            pid = await super().start(id)
            await self.machine.containers[id].ended.wait()
            for _ in range(5):
                await box.rest(0)
            return pid

    async with rig(tmp_path) as box:
        await box.start(fake=Hasty(box.machine))
        box.deploy(command=("sh", "-c", "exit 4"), restart=Restart(policy="no"))
        await box.until(lambda: box.newest.state is AllocationState.FAILED)
        assert box.newest.exit_code == 4


async def test_stopping_while_it_waits_for_its_next_start_or_ends_by_itself(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(command=("sh", "-c", "exit 5"))
        await box.until(lambda: len(box.calls("start")) == 6)
        box.do(StopApp(project="default", name="web"))
        await box.until(lambda: box.newest.state is AllocationState.STOPPED, 1)
        await box.rest(100)
        assert len(box.calls("start")) == 6
        assert box.status().phase is Phase.ENDED


async def test_a_stop_is_neither_a_crash_nor_a_warning(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(update=Update(min_healthy_time=60))
        await box.until(lambda: box.running())
        box.machine.crash(f"{box.newest.id}.0")
        await box.until(lambda: box.status().ready and box.status().instance == 1)
        seen: list[Phase] = []
        box.store.subscribe("allocation/", lambda _: seen.append(box.status().phase))
        box.do(StopApp(project="default", name="web"))
        await box.until(lambda: box.newest.state is AllocationState.STOPPED)
        assert Phase.BACKOFF not in seen
        assert [state for state, _ in box.reports] == ["STOPPED"]
        [*_, told] = [event for event in box.events() if event.type == "allocation.exited"]
        assert (told.level, told.message) == ("info", "instance 1: killed by signal 15")


# -- health --------------------------------------------------------------------------------------------------


async def test_it_is_ready_once_its_check_passes(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.machine.delays["exec"] = 1.0
        box.deploy(check=Check(probe=CommandProbe(command=("true",))), ports=(Port(container=80, host=8080),))
        await box.phase(Phase.RUNNING)
        assert (box.status().ready, box.status().health, box.published(8080)) == (False, "starting", ())
        await box.until(lambda: box.published(8080))
        assert box.status().health == "passing"
        await box.healthy()


async def test_an_unhealthy_one_is_stopped_and_started_again_and_fails_its_deployment(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        outcome = box.deploy(check=SICK)
        await box.until(lambda: box.newest.failing)
        assert box.deployment(outcome)[0] is DeploymentState.FAILED
        assert [e.type for e in box.events()].count("allocation.unhealthy") >= 2
        assert len(box.calls("start")) >= 2


async def test_an_unhealthy_one_that_leaves_politely_has_not_completed(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        polite = ("sh", "-c", "trap 'exit 0' TERM ; while :; do sleep 9; done")
        box.deploy(command=polite, check=SICK, restart=Restart(policy="on-failure"))
        await box.until(lambda: len(box.calls("start")) >= 3)
        assert box.newest.state is AllocationState.PLACED


async def test_an_unhealthy_one_that_leaves_politely_while_the_daemon_is_away(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(check=SICK, restart=Restart(policy="on-failure"), stop=Stop(grace=100),
                   command=("sh", "-c", "trap '' TERM ; while :; do sleep 9; done"))  # fmt: skip
        await box.until(lambda: box.calls("stop"))
        await box.kill()
        box.machine.crash(f"{box.newest.id}.0", code=0)
        await box.start()
        await box.until(lambda: len(box.calls("start")) == 2)


async def test_an_unhealthy_one_that_is_not_to_be_restarted_goes_on_and_counts_as_failing(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        outcome = box.deploy(check=SICK, restart=Restart(policy="no"))
        await box.until(lambda: box.newest.failing)
        assert box.deployment(outcome)[0] is DeploymentState.FAILED
        await box.rest(100)
        assert len(box.running()) == 1
        assert (box.status().ready, box.status().health) == (False, "failing")


async def test_a_stop_of_an_unhealthy_one_that_fails_is_tried_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.machine.failures["stop"] = Unavailable("not now")
        box.deploy(check=SICK)
        await box.until(lambda: len(box.calls("start")) == 2, 100)


async def test_one_that_recovers_while_it_is_being_stopped_is_not_reported_healthy(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        stubborn = ("sh", "-c", "trap '' TERM ; while :; do sleep 9; done")
        box.deploy(command=stubborn, check=SICK, stop=Stop(grace=60))
        await box.until(lambda: box.calls("stop"))
        box.machine.containers[f"{box.newest.id}.0"].spec.env["X"] = "1"
        agent = box.agent
        assert agent
        worker = agent._workers[box.newest.id]
        watch = worker.charge.main.watch
        assert watch
        watch.ready, watch.health = True, "passing"
        worker.wake()
        await box.rest(30)
        assert not box.status().ready
        assert not [state for state, _ in box.reports if state == "HEALTHY"]


# -- trouble -------------------------------------------------------------------------------------------------


async def test_a_port_that_somebody_else_has_fails_the_deployment_says_who_and_heals(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        port = Published("tcp", 8080)
        box.network.busy[port] = "port 8080 is in use by nginx, pid 7"
        outcome = box.deploy(ports=(Port(container=80, host=8080),))
        await box.until(lambda: box.newest.failing)
        assert "nginx" in box.status().message
        assert "nginx" in box.deployment(outcome)[1]
        box.network.busy.clear()
        await box.healthy()
        assert box.published(8080)
        assert box.status().message == ""


async def test_a_port_that_is_taken_while_the_daemon_is_away_is_published_once_it_is_free(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(ports=(Port(container=80, host=8080),), update=Update(min_healthy_time=0))
        await box.healthy()
        await box.kill()
        box.network.busy[Published("tcp", 8080)] = "port 8080 is in use by nginx, pid 7"
        await box.start()
        await box.rest(60)
        assert "nginx" in box.status().message
        box.network.busy.clear()
        await box.until(lambda: box.published(8080))
        await box.until(lambda: box.status().message == "")


@pytest.mark.parametrize(
    "error", [Unavailable("netlink is busy"), OSError("no buffer space"), KeyError("bug")]
)
async def test_publishing_that_fails_is_tried_again_and_holds_nobody_up(
    tmp_path: Path, error: Exception
) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        publish, broken = box.network.publish, [error] * 3

        async def fails(table):  # type: ignore[no-untyped-def]
            if broken:
                raise broken.pop()
            return await publish(table)

        box.network.publish = fails  # type: ignore[method-assign]
        box.deploy(ports=(Port(container=80, host=8080),))
        await box.until(lambda: box.published(8080))
        box.do(StopApp(project="default", name="web"))
        await box.until(lambda: box.newest.state is AllocationState.STOPPED)


@pytest.mark.parametrize("method", ["create", "start", "stop", "remove"])
@pytest.mark.parametrize("error", [Unavailable("disk full"), OSError("disk full"), ZeroDivisionError("bug")])
async def test_whatever_fails_once_is_done_in_the_end(tmp_path: Path, method: str, error: Exception) -> None:
    """A defect is logged; it does not leave an allocation without anybody who cares for it."""
    async with rig(tmp_path) as box:
        await box.start()
        box.machine.failures[method] = error  # type: ignore[assignment]
        box.deploy(replicas=2)
        await box.healthy(2)
        box.do(ScaleApp(project="default", name="web", replicas=1))
        await box.until(lambda: len(box.running()) == 1)
        await box.until(lambda: len(box.hive.live()) == 1)


async def test_events_that_break_off_are_listened_to_again_and_nothing_is_missed(tmp_path: Path) -> None:
    class Deaf(FakeRuntime):
        broken = 2

        async def events(self) -> AsyncIterator[RuntimeEvent]:
            async for event in super().events():
                if self.broken:
                    self.broken -= 1
                    raise OSError("the pipe is gone")
                yield event

    async with rig(tmp_path) as box:
        await box.start(fake=Deaf(box.machine))
        box.deploy()
        for instance in range(3):
            await box.until(lambda n=instance: f"{box.newest.id}.{n}" in box.running())  # type: ignore[misc]
            await box.rest(40)
            box.machine.crash(f"{box.newest.id}.{instance}", code=instance)
        await box.until(lambda: box.status().instance == 3)
        assert [e.message for e in box.events() if e.type == "allocation.exited"] == [
            "instance 0: exit code 0", "instance 1: exit code 1", "instance 2: exit code 2"
        ]  # fmt: skip


async def test_an_update_goes_back_when_its_image_cannot_be_fetched_for_a_while(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy()
        await box.until(lambda: box.newest.state is AllocationState.HEALTHY)
        box.machine.failures["pull"] = Unavailable("the registry cannot be reached")
        outcome = box.deploy(image="web:2")
        began = box.loop.time()

        def deployment() -> DeploymentState:
            box.machine.failures["pull"] = Unavailable("the registry cannot be reached")
            return box.hive.state.deployments[outcome.deployment].state

        await box.until(lambda: deployment() is DeploymentState.FAILED, 60)
        assert 5 < box.loop.time() - began < 30, "not at the first breath, nor at the deadline"
        assert "cannot be reached" in box.hive.state.deployments[outcome.deployment].reason
        assert box.hive.app().revision == 1
