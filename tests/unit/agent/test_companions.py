"""Pods in miniature: init containers, sidecars, and the order in which all of it comes and goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_rig import IMAGE, SERVE, Rig, rig
from hivemind.agent.work.compose import place_of
from hivemind.drivers.runtimes.contract import LogQuery
from hivemind.errors import NotFound, Unavailable
from hivemind.model.allocation import AllocationState, Phase
from hivemind.model.app import Companion, Restart
from hivemind.model.check import Check, CommandProbe
from hivemind.model.template import Resources, Stop
from hivemind.state.operations import DeleteApp, StopApp
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio
SICK = Check(probe=CommandProbe(command=("false",)), interval=1, retries=2)


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        await made.start()
        yield made


def companion(name: str, *command: str, **more: object) -> Companion:
    return Companion(name=name, image=IMAGE, command=command or SERVE, **more)  # type: ignore[arg-type]


def once(name: str, seconds: float = 1, code: int = 0) -> Companion:
    return companion(name, "sh", "-c", f"sleep {seconds}; exit {code}")


def order(box: Rig, method: str) -> list[str]:
    """Names of the containers, in the order in which that was asked of the runtime."""
    return [place_of(id).name or "app" for called, id in box.machine.calls if called == method]


def part(box: Rig, name: str) -> object:
    return next(c for c in box.status().companions if c.name == name)


async def test_init_containers_run_one_after_the_other_then_sidecars_then_the_app(box: Rig) -> None:
    seen: list[tuple[Phase, str]] = []
    box.store.subscribe("allocation/", lambda _: seen.append((box.status().phase, box.status().message)))
    box.deploy(
        init_containers=(once("schema"), once("data")), sidecars=(companion("log"), companion("proxy"))
    )
    await box.healthy()
    assert order(box, "start") == ["schema", "data", "log", "proxy", "app"]
    assert (Phase.STARTING, "init 1/2: schema") in seen
    assert (Phase.STARTING, "init 2/2: data") in seen
    assert seen.index((Phase.STARTING, "init 1/2: schema")) < seen.index((Phase.STARTING, "init 2/2: data"))
    assert len(box.running()) == 3
    status = box.status()
    assert [(c.name, c.role, str(c.phase), c.ready) for c in status.companions] == [
        ("schema", "init", "ended", False), ("data", "init", "ended", False),
        ("log", "sidecar", "running", True), ("proxy", "sidecar", "running", True),
    ]  # fmt: skip
    assert (status.phase, status.ready, status.message) == (Phase.RUNNING, True, "")


async def test_all_share_one_network_and_know_their_own_limits(box: Rig) -> None:
    box.deploy(sidecars=(companion("log", resources=Resources(memory=2**20), env={"A": "1"}),))
    await box.healthy()
    own, beside = (box.spec(f"{box.newest.id}.0{name}") for name in ("", ".log"))
    assert own.netns == beside.netns
    assert own.hosts == beside.hosts
    assert (own.memory, beside.memory) == (0, 2**20)
    assert ("A" in own.env, beside.env["A"]) == (False, "1")
    assert beside.labels["hivemind.container"] == "log"


async def test_a_failing_init_container_is_tried_again_and_nothing_else_starts(box: Rig) -> None:
    box.deploy(init_containers=(companion("migrate", "false"),))
    await box.until(lambda: len(box.calls("start")) == 5)
    assert set(order(box, "start")) == {"migrate"}
    assert box.newest.failing
    assert box.newest.reason == "init migrate: exit code 1, again and again"
    await box.until(lambda: box.status().message.startswith("init 1/1: migrate: exit code 1; back-off"))
    assert box.status().phase is Phase.BACKOFF
    assert not box.status().ready


@pytest.mark.parametrize(("policy", "retries", "runs"), [("no", 0, 1), ("on-failure", 2, 3)])
async def test_the_restart_policy_limits_init_containers(
    box: Rig, policy: str, retries: int, runs: int
) -> None:
    box.deploy(
        init_containers=(companion("migrate", "sh", "-c", "exit 7"),),
        restart=Restart(policy=policy, retries=retries),  # type: ignore[arg-type]
    )
    await box.until(lambda: box.newest.state is AllocationState.FAILED)
    assert (box.newest.reason, box.newest.exit_code) == ("init migrate: exit code 7", 7)
    assert len(box.calls("start")) == runs
    await box.until(lambda: not box.network.attachments())


async def test_the_next_waits_until_a_sidecar_is_ready(box: Rig) -> None:
    slow = Check(probe=CommandProbe(command=("test", "-f", "/ready")), interval=1, start_period=3600)
    box.deploy(sidecars=(companion("db", check=slow), companion("cache")))
    await box.until(lambda: box.running())
    await box.rest(20)
    assert order(box, "start") == ["db"]
    assert box.status().message.startswith("sidecar db")
    assert box.newest.state is AllocationState.PLACED


async def test_a_sidecar_that_ends_is_started_again_on_its_own(box: Rig) -> None:
    box.deploy(sidecars=(companion("log"),))
    await box.healthy()
    box.machine.crash(f"{box.newest.id}.0.log", 3)
    await box.until(lambda: f"{box.newest.id}.1.log" in box.running())
    assert f"{box.newest.id}.0" in box.running()
    await box.until(lambda: box.status().ready)
    log = part(box, "log")
    assert (log.restarts, log.last.exit_code, box.status().restarts) == (1, 3, 0)  # type: ignore[attr-defined]
    assert any(e.message == "log: instance 0: exit code 3" for e in box.events())


async def test_without_its_sidecar_it_is_not_ready(box: Rig) -> None:
    box.deploy(sidecars=(companion("log"),))
    await box.healthy()
    box.machine.failures["create"] = Unavailable("the disk is full")
    box.machine.crash(f"{box.newest.id}.0.log", 3)
    await box.until(lambda: not box.status().ready)
    assert box.status().message.startswith("sidecar log: the disk is full")
    assert box.status().phase is Phase.RUNNING
    await box.until(lambda: box.status().ready)


async def test_an_unhealthy_sidecar_is_restarted_alone(box: Rig) -> None:
    box.deploy(sidecars=(companion("log", liveness=SICK),))
    await box.until(lambda: f"{box.newest.id}.2.log" in box.running())
    assert box.status().restarts == 0
    assert [e for e in box.events() if e.type == "allocation.unhealthy"]


async def test_the_app_stops_first_and_its_sidecars_in_reverse(box: Rig) -> None:
    box.deploy(sidecars=(companion("one"), companion("two")))
    await box.healthy()
    box.do(StopApp(project="default", name="web"))
    await box.until(lambda: box.newest.state is AllocationState.STOPPED)
    assert order(box, "stop") == ["app", "two", "one"]
    assert not box.running()
    assert not box.network.attachments()
    assert {str(c.phase) for c in box.status().companions} == {"ended"}


async def test_when_the_app_completes_its_sidecars_go(box: Rig) -> None:
    box.deploy(
        command=("sh", "-c", "sleep 3"),
        sidecars=(companion("one"), companion("two")),
        restart=Restart(policy="on-failure"),
    )
    await box.until(lambda: box.newest.state is AllocationState.COMPLETE)
    assert order(box, "stop") == ["two", "one"]
    await box.until(lambda: not box.running())
    await box.rest(100)
    assert order(box, "start") == ["one", "two", "app"]


async def test_a_sidecar_never_ends_the_app_whatever_the_policy(box: Rig) -> None:
    box.deploy(sidecars=(companion("log"),), restart=Restart(policy="no"))
    await box.healthy()
    for instance in range(4):
        await box.until(lambda n=instance: f"{box.newest.id}.{n}.log" in box.running())  # type: ignore[misc]
        box.machine.crash(f"{box.newest.id}.{instance}.log", instance)
    await box.until(lambda: f"{box.newest.id}.4.log" in box.running())
    assert box.newest.state is AllocationState.HEALTHY


async def test_a_daemon_that_dies_between_goes_on_where_it_was(box: Rig) -> None:
    box.deploy(init_containers=(once("a", 30), once("b", 30)), sidecars=(companion("log"),))
    for _ in range(30):
        await box.rest(4)
        await box.kill()
        await box.start()
    await box.healthy()
    assert order(box, "start") == ["a", "b", "log", "app"], "nothing runs twice"


async def test_a_crash_of_the_app_runs_no_init_container_again(box: Rig) -> None:
    box.deploy(init_containers=(once("a"),), sidecars=(companion("log"),))
    await box.healthy()
    box.machine.crash(f"{box.newest.id}.0")
    await box.until(lambda: f"{box.newest.id}.1" in box.running())
    assert order(box, "start") == ["a", "log", "app", "app"]


async def test_after_a_reboot_all_of_it_comes_up_in_order(box: Rig) -> None:
    box.deploy(init_containers=(once("a"), once("b")), sidecars=(companion("log"),))
    await box.healthy()
    await box.reboot()
    await box.until(lambda: len(order(box, "start")) == 8)
    await box.until(lambda: box.status().ready)
    assert order(box, "start") == ["a", "b", "log", "app"] * 2
    await box.kill()
    await box.start()
    await box.rest(50)
    assert len(order(box, "start")) == 8


async def test_stopping_in_the_middle_of_an_init_container(box: Rig) -> None:
    box.deploy(init_containers=(once("a", 500),), stop=Stop(grace=1))
    await box.until(lambda: box.running())
    box.do(DeleteApp(project="default", name="web"))
    await box.until(lambda: not box.machine.containers)
    assert order(box, "start") == ["a"]


async def test_each_container_is_reached_by_its_name(box: Rig) -> None:
    box.deploy(
        init_containers=(companion("hello", "echo", "hi"),), sidecars=(companion("log", env={"ME": "log"}),)
    )
    await box.healthy()
    assert box.agent
    id = box.newest.id
    lines = [line.text async for line in box.agent.logs(id, LogQuery(follow=True), "hello")]
    assert lines == ["hi"], "following what has ended ends"
    assert box.agent.running(id, "log")[1] == f"{id}.0.log"
    assert (await box.agent.stats(id, "log")).pids == 1
    assert set(await box.agent.looking.stats()) == {(id, ""), (id, "log")}
    with pytest.raises(NotFound, match="no container 'lug'") as refused:
        box.agent.running(id, "lug")
    assert "hello, log" in refused.value.hint


async def test_only_few_instances_of_each_are_kept(box: Rig) -> None:
    box.deploy(sidecars=(companion("log"),))
    await box.healthy()
    for instance in range(6):
        await box.until(lambda n=instance: f"{box.newest.id}.{n}.log" in box.running())  # type: ignore[misc]
        box.machine.crash(f"{box.newest.id}.{instance}.log")
    await box.until(lambda: f"{box.newest.id}.6.log" in box.running())
    assert len(box.machine.containers) == 3
