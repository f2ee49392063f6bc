"""An allocation from its placement to its end: what the agent does, observes and reports."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent_rig import IMAGE, STUBBORN, rig
from hivemind.errors import Unavailable
from hivemind.model.allocation import AllocationState, Phase
from hivemind.model.app import Restart, Update
from hivemind.model.deployment import DeploymentState
from hivemind.model.network import Port
from hivemind.model.template import Stop
from hivemind.state.operations import DeleteApp, DrainNode, RestartApp, ScaleApp, StartApp, StopApp
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio
STOP = StopApp(project="default", name="web")
DELETE = DeleteApp(project="default", name="web")


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


async def test_a_deploy_runs_gets_ready_and_is_reported_healthy(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        outcome = box.deploy(replicas=2)
        await box.healthy(2)
        assert box.deployment(outcome) == (DeploymentState.SUCCEEDED, "")
        assert box.reports == [("HEALTHY", ""), ("HEALTHY", "")]
        status = box.status()
        assert (status.phase, status.ready, status.instance, status.restarts) == (Phase.RUNNING, True, 0, 0)
        assert status.ip == box.network.attachments()[box.newest.id].ip
        assert status.image_digest == box.machine.images["docker.io/library/web:1"].digest
        assert {c for c, _ in box.calls("pull")} == {"pull"}
        assert len(box.running()) == 2


async def test_it_counts_as_healthy_only_after_the_time_without_a_break(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(update=Update(min_healthy_time=20))
        await box.until(lambda: box.status().ready)
        await box.rest(15)
        box.machine.crash(f"{box.newest.id}.0")
        await box.until(lambda: box.status().ready and box.status().instance == 1)
        await box.rest(15)
        assert not box.reports
        await box.healthy()


async def test_stopping_leaves_the_balancing_first_then_asks_then_kills_then_frees_the_address(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as box:
        agent = await box.start()
        box.deploy(command=STUBBORN, ports=(Port(container=80, host=8080),), stop=Stop(grace=30))
        await box.healthy()
        id = box.newest.id
        story: list[object] = []
        publish, detach, called = box.network.publish, box.network.detach, agent._runtimes["fake"]._called  # type: ignore[attr-defined]

        async def publishes(table):  # type: ignore[no-untyped-def]
            story.append(("publish", *table.values()))
            return await publish(table)

        async def detaches(allocation):  # type: ignore[no-untyped-def]
            story.append(("detach", round(box.loop.time() - began)))
            await detach(allocation)

        async def calls(method, what):  # type: ignore[no-untyped-def]
            if method in ("stop", "kill"):
                story.append((method, round(box.loop.time() - began)))
            await called(method, what)

        box.network.publish, box.network.detach = publishes, detaches  # type: ignore[method-assign]
        agent._runtimes["fake"]._called = calls  # type: ignore[attr-defined]
        began = box.loop.time()
        box.do(STOP)
        await box.until(lambda: box.newest.state is AllocationState.STOPPED)
        first = story.index(("stop", 0))
        assert story[first - 1] == ("publish", ()), "nobody is sent there any more"
        assert [what for what in story if what[0] != "publish"] == [  # type: ignore[index]
            ("stop", 0), ("kill", 0), ("kill", 30), ("detach", 30)
        ]  # fmt: skip
        assert box.reports[-1] == ("STOPPED", "the app was stopped")
        assert box.newest.exit_code == 137
        assert id not in box.network.attachments()
        assert box.status().phase is Phase.ENDED
        assert not box.status().ready


async def test_what_is_drained_by_force_is_killed(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(command=STUBBORN, stop=Stop(grace=600))
        await box.healthy()
        began = box.loop.time()
        box.do(DrainNode(name="node-0", force=True))
        await box.until(lambda: not box.running())
        assert box.loop.time() - began < 5


async def test_what_is_being_stopped_when_the_deadline_passes_is_killed(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        agent = await box.start()
        box.deploy(command=STUBBORN, stop=Stop(grace=600))
        await box.healthy()
        began, id = box.loop.time(), box.newest.id
        box.do(DrainNode(name="node-0", deadline=20_000))
        await box.rest(19)
        assert box.status(id).phase is Phase.STOPPING and box.running()
        await box.rest(2)
        box.hive.time = box.loop.milliseconds()
        box.hive.wait(0)
        agent.agreed()
        await box.until(lambda: not box.running())
        assert box.loop.time() - began < 25
        box.do(DELETE)
        await box.until(lambda: not box.machine.containers)


async def test_the_published_port_of_a_stopped_app_is_freed(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(ports=(Port(container=80, host=8080),))
        await box.until(lambda: box.published(8080))
        box.do(STOP)
        await box.until(lambda: box.newest.state is AllocationState.STOPPED)
        await box.rest()
        assert box.published(8080) is None


async def test_stop_start_and_delete(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(replicas=2)
        await box.healthy(2)
        box.do(STOP)
        await box.until(lambda: not box.running())
        await box.until(lambda: not box.hive.live())
        box.do(StartApp(project="default", name="web"))
        await box.healthy(2)
        box.do(DELETE)
        await box.until(lambda: not box.hive.state.apps)
        await box.until(lambda: not box.machine.containers)
        await box.rest()
        assert not box.network.attachments()
        assert not list(box.store.range("allocation/"))


async def test_an_update_runs_the_new_before_it_stops_the_old(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(replicas=3)
        await box.healthy(3)
        box.do(RestartApp(project="default", name="web"))
        fewest = 9

        def done() -> bool:
            nonlocal fewest
            fewest = min(fewest, sum(box.status(a.id).ready for a in box.hive.live()))
            return {a.revision for a in box.hive.live()} == {2} and len(box.running()) == 3

        await box.until(done)
        assert fewest == 3


async def test_an_image_that_is_nowhere_counts_as_failing_and_heals_when_it_comes(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        outcome = box.deploy(image="new:1")
        await box.until(lambda: box.newest.failing)
        assert box.deployment(outcome)[0] is DeploymentState.FAILED
        assert "there is no image new:1 (check its name and tag)" in box.newest.reason
        assert box.status().phase is Phase.BACKOFF
        box.machine.add_image("new:1")
        await box.healthy()
        assert (box.newest.failing, box.newest.reason) == (False, "")
        assert box.hive.app().stable == 1


async def test_a_registry_that_is_down_is_asked_again_and_fails_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.machine.failures["pull"] = Unavailable("the registry does not answer")
        outcome = box.deploy()
        await box.until(lambda: box.status().phase is Phase.BACKOFF)
        assert "the registry does not answer" in box.status().message
        await box.healthy()
        assert box.deployment(outcome)[0] is DeploymentState.SUCCEEDED
        assert box.reports == [("PLACED", "the registry does not answer"), ("HEALTHY", "")]


async def test_one_pull_serves_all_and_a_stop_does_not_wait_for_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        agent = await box.start()
        box.machine.delays["pull"] = 1000
        box.deploy(replicas=3)
        await box.until(lambda: [box.status(a.id).phase for a in box.allocations] == [Phase.PULLING] * 3)
        assert box.calls("pull") == [("pull", IMAGE)]
        box.do(ScaleApp(project="default", name="web", replicas=1))
        await box.until(lambda: [a.state for a in box.allocations].count(AllocationState.STOPPED) == 2, 5)
        await box.until(lambda: len(box.running()) == 1, 1100)
        assert box.calls("pull") == [("pull", IMAGE)]
        box.do(DELETE)
        await box.until(lambda: not box.hive.state.apps)
        box.deploy()
        await box.phase(Phase.PULLING)
        box.do(DELETE)
        await box.until(lambda: not box.hive.state.apps, 5)
        await box.rest(1)
        assert not len(agent.pulls), "nobody waits for it, so it was given up"


async def test_a_command_that_does_not_exist_with_policy_no_has_failed(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        outcome = box.deploy(command=("no-such-thing",), restart=Restart(policy="no"))
        await box.until(lambda: box.newest.state is AllocationState.FAILED)
        assert box.deployment(outcome)[0] is DeploymentState.FAILED
        assert "no-such-thing" in box.newest.reason
        await box.rest(60)
        assert box.calls("create") == [("create", "0")], "it is not tried again"
        assert not box.machine.containers
        assert not box.network.attachments()


async def test_a_command_that_does_not_exist_is_tried_again_and_says_why_all_the_time(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(command=("no-such-thing",))
        await box.until(lambda: len(box.calls("create")) == 5)
        assert box.newest.failing
        assert "no-such-thing" in box.status().message
        assert "the command" in box.newest.reason, "the hint is there too"
        reports = len(box.reports)
        await box.rest(300)
        assert len(box.reports) == reports, "the same is not said again"


async def test_a_task_that_loses_its_cancellation_does_not_keep_the_daemon_up(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        agent = await box.start()
        lost = []

        async def loses() -> None:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                lost.append(True)
            await asyncio.sleep(10_000)

        agent.spawn(loses())
        await box.rest(1)
        began = box.loop.time()
        await box.kill()
        assert lost
        assert box.loop.time() - began < 10
