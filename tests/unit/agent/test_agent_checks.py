"""Checks and hooks of a running container, what a daemon remembers of them, and runtimes that hang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_rig import SERVE, Rig, rig
from hivemind.drivers.runtimes.contract import ExecSession, ExecSpec, Exit
from hivemind.drivers.runtimes.fake import FakeRuntime
from hivemind.model.allocation import Allocation, AllocationState, Phase
from hivemind.model.app import Restart
from hivemind.model.check import Check, CommandProbe, Hook
from hivemind.model.image import ImageConfig
from hivemind.model.template import Stop
from hivemind.state.operations import StopApp
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        yield made


class Answers(FakeRuntime):
    """Commands inside answer as told: by their first word, an exit code, or None for no answer."""

    def __init__(self, box: Rig) -> None:
        super().__init__(box.machine)
        self.answers: dict[str, int | None] = {}
        self.asked: list[str] = []

    async def exec(self, id: str, spec: ExecSpec) -> ExecSession:
        word = spec.args[0]
        self.asked.append(word)
        answer = self.answers.get(word, 0)
        if answer is None:
            await asyncio.Event().wait()
        args = ("sh", "-c", f"echo {word} says {answer}; exit {answer}")
        return await super().exec(id, ExecSpec(args=args))


def command(word: str, **timing: float) -> Check:
    return Check(probe=CommandProbe(command=(word,)), **{"interval": 1, **timing})  # type: ignore[arg-type]


def hook(word: str, timeout: float = 30.0) -> Hook:
    return Hook(action=CommandProbe(command=(word,)), timeout=timeout)


async def started(box: Rig) -> Answers:
    runtime = Answers(box)
    await box.start(fake=runtime)
    return runtime


# -- startup, liveness, readiness ----------------------------------------------------------------------------


async def test_nothing_else_is_asked_until_it_has_started_up(box: Rig) -> None:
    runtime = await started(box)
    runtime.answers = {"up": 1}
    box.deploy(startup=command("up", retries=100), liveness=command("live"), readiness=command("ready"))
    await box.until(lambda: runtime.asked.count("up") > 5)
    assert set(runtime.asked) == {"up"}
    assert (box.status().ready, box.status().health, box.status().settled) == (False, "starting", False)
    assert box.status().message == "startup: up says 1"
    runtime.answers = {}
    await box.healthy()
    assert {"live", "ready"} <= set(runtime.asked)
    count = runtime.asked.count("up")
    await box.rest(30)
    assert runtime.asked.count("up") == count
    assert (box.status().settled, box.status().health, box.status().message) == (True, "passing", "")


async def test_what_does_not_start_up_is_restarted(box: Rig) -> None:
    runtime = await started(box)
    runtime.answers = {"up": 1}
    box.deploy(startup=command("up", retries=2), liveness=command("live"))
    await box.until(lambda: box.status().instance == 2)
    assert "live" not in runtime.asked
    last = box.status().last
    assert last
    assert last.reason == "unhealthy, killed by signal 15 (startup: up says 1)"


async def test_readiness_takes_it_out_and_restarts_nothing(box: Rig) -> None:
    runtime = await started(box)
    box.deploy(readiness=command("ready", retries=2), liveness=command("live"))
    await box.healthy()
    runtime.answers = {"ready": 1}
    await box.until(lambda: not box.status().ready)
    assert (box.status().message, box.status().health) == ("readiness: ready says 1", "failing")
    await box.rest(100)
    assert box.status().instance == 0
    runtime.answers = {}
    await box.until(lambda: box.status().ready)
    assert box.status().message == ""


async def test_liveness_restarts_and_does_not_gate(box: Rig) -> None:
    runtime = await started(box)
    runtime.answers = {"live": 1}
    box.deploy(liveness=command("live", retries=5))
    await box.until(lambda: box.status().ready)
    assert box.status().health == "starting"
    await box.until(lambda: box.status().instance == 1)
    assert [e.message for e in box.events() if e.type == "allocation.unhealthy"] == ["liveness: live says 1"]


async def test_out_of_readiness_is_no_reason_to_run_what_completed_again(box: Rig) -> None:
    runtime = await started(box)
    runtime.answers = {"ready": 1}
    box.deploy(
        command=("sh", "-c", "sleep 20"), readiness=command("ready", retries=1),
        restart=Restart(policy="on-failure"),
    )  # fmt: skip
    await box.until(lambda: box.newest.state is AllocationState.COMPLETE)
    assert len(box.calls("start")) == 1


async def test_a_daemon_that_comes_back_does_not_repeat_the_start(box: Rig) -> None:
    runtime = await started(box)
    box.deploy(startup=command("up"), post_start=hook("greet"), readiness=command("ready"))
    await box.healthy()
    await box.kill()
    again = await started(box)
    await box.until(lambda: "ready" in again.asked)
    assert runtime.asked.count("greet") == 1
    assert {"up", "greet"}.isdisjoint(again.asked)
    assert box.status().ready


# -- the image's own check -----------------------------------------------------------------------------------


async def test_the_images_check_counts_where_the_app_has_none(box: Rig) -> None:
    runtime = await started(box)
    box.machine.add_image("checked:1", ImageConfig(healthcheck=command("inherited", retries=1)))
    box.deploy(image="checked:1")
    await box.healthy()
    assert box.status().health == "passing"
    await box.kill()
    runtime = await started(box)
    await box.until(lambda: "inherited" in runtime.asked)
    runtime.answers = {"inherited": 1}
    await box.until(lambda: box.status().instance == 1)


@pytest.mark.parametrize("spec", [{"healthcheck": "none"}, {"check": command("own")}])
async def test_the_images_check_gives_way(box: Rig, spec: dict[str, object]) -> None:
    runtime = await started(box)
    box.machine.add_image("checked:1", ImageConfig(healthcheck=command("inherited")))
    box.deploy(image="checked:1", **spec)
    await box.healthy()
    await box.rest(20)
    assert "inherited" not in runtime.asked
    assert box.status().health == ("passing" if "check" in spec else "none")


# -- hooks ---------------------------------------------------------------------------------------------------


async def test_it_is_not_ready_before_its_post_start_hook_is_done(box: Rig) -> None:
    runtime = await started(box)
    runtime.answers = {"greet": None}
    box.deploy(post_start=hook("greet", timeout=20))
    await box.until(lambda: box.running())
    await box.rest(10)
    assert not box.status().ready
    await box.until(lambda: box.status().instance == 1)
    [failed] = [e for e in box.events() if e.type == "allocation.hook-failed"]
    assert (failed.level, failed.message) == (
        "warning", "post-start: greet: no answer within 20s; it is idle: its processes sleep, it hangs",
    )  # fmt: skip
    runtime.answers = {}
    await box.healthy()


async def test_the_pre_stop_hook_comes_before_the_signal_and_takes_from_the_grace(box: Rig) -> None:
    runtime = await started(box)
    runtime.answers = {"bye": None}
    box.deploy(pre_stop=hook("bye"), stop=Stop(grace=10))
    await box.healthy()
    before = box.loop.time()
    box.do(StopApp(project="default", name="web"))
    await box.until(lambda: box.newest.state is AllocationState.STOPPED)
    assert 10 <= box.loop.time() - before <= 14
    assert runtime.asked == ["bye"]
    [failed] = [e for e in box.events() if e.type == "allocation.hook-failed"]
    assert failed.message.startswith("pre-stop: bye: no answer within 10s")


async def test_who_does_not_hear_the_stop_signal_is_told_of(box: Rig) -> None:
    await started(box)
    box.deploy(command=("sh", "-c", "trap '' TERM ; while :; do sleep 3600; done"), stop=Stop(grace=4))
    await box.healthy()
    box.do(StopApp(project="default", name="web"))
    await box.until(lambda: box.newest.state is AllocationState.STOPPED)
    [killed] = [e for e in box.events() if e.type == "allocation.killed"]
    assert killed.message == "it did not end within 4s of SIGTERM and was killed"


# -- what is remembered --------------------------------------------------------------------------------------


async def test_the_checks_are_remembered_and_the_latest_stands_in_the_store(box: Rig) -> None:
    runtime = await started(box)
    box.deploy(check=command("ok"))
    await box.healthy()
    runtime.answers = {"ok": 3}
    await box.until(lambda: box.status().health == "failing")
    assert box.agent
    found = box.agent.checks(box.newest.id)
    assert [r.outcome for r in found[-3:]] == ["failed"] * 3
    assert found[0].outcome == "passed"
    assert (found[-1].check, found[-1].output) == ("check", "ok says 3")
    [latest] = box.status().checks
    assert latest.outcome == "failed"
    for _ in range(100):
        await box.rest(1)
    assert len(box.agent.checks(box.newest.id)) <= 30


async def test_passing_checks_write_nothing(box: Rig) -> None:
    await started(box)
    box.deploy(check=command("ok"))
    await box.healthy()
    await box.rest(5)
    writes: list[object] = []
    box.store.subscribe("allocation/", writes.append)
    await box.rest(100)
    assert not writes


async def test_the_back_off_is_remembered_by_the_next_daemon(box: Rig) -> None:
    await started(box)
    box.deploy(command=("false",))
    await box.until(lambda: box.status().failures == 6)
    assert box.status().message == "exit code 1; back-off 8s, restart 6"
    starts = len(box.calls("start"))
    for _ in range(3):
        await box.kill()
        await started(box)
        await box.rest(1)
    assert len(box.calls("start")) == starts, "a new daemon does not begin anew"
    await box.until(lambda: box.status().failures == 7)
    assert box.status().message == "exit code 1; back-off 16s, restart 7"


async def test_after_a_good_run_it_starts_at_once_again(box: Rig) -> None:
    await started(box)
    box.deploy(command=("false",))
    await box.until(lambda: box.status().failures == 6)
    box.deploy(command=SERVE, env={"A": "1"})
    await box.healthy()
    await box.kill()
    await started(box)
    await box.rest(31)
    box.machine.crash(f"{box.newest.id}.0")
    await box.until(lambda: box.status().instance == 1, 1)
    assert box.status().failures == 1


# -- hung runtimes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["create", "start"])
async def test_a_runtime_that_hangs_does_not_hang_the_worker(box: Rig, method: str) -> None:
    await started(box)
    box.machine.delays = {method: 10**6}
    box.deploy()
    await box.phase(Phase.BACKOFF)
    assert "took longer than 120s" in box.status().message
    box.machine.delays = {}
    await box.healthy()
    assert len(box.running()) == 1


async def test_a_stop_that_hangs_is_tried_again(box: Rig) -> None:
    class Deaf(Answers):
        hangs = True

        async def stop(self, id: str, signal: str, grace: float) -> Exit:
            if self.hangs:
                await asyncio.Event().wait()
            return await super().stop(id, signal, grace)

    runtime = Deaf(box)
    await box.start(fake=runtime)
    box.deploy()
    await box.healthy()
    box.do(StopApp(project="default", name="web"))
    await box.until(lambda: "stopping the container took longer" in box.status().message)
    runtime.hangs = False
    await box.until(lambda: box.newest.state is AllocationState.STOPPED)


async def test_a_check_whose_exec_hangs_is_a_check_without_an_answer(box: Rig) -> None:
    runtime = await started(box)
    box.deploy(liveness=command("live", timeout=3, retries=2))
    await box.healthy()
    runtime.answers = {"live": None}
    await box.until(lambda: box.status().instance == 1)
    assert box.agent
    timeouts = [r for r in box.agent.checks(box.newest.id) if r.outcome == "timeout"]
    assert len(timeouts) == 2
    assert all(3 <= r.latency < 4 for r in timeouts)


# -- depends_on ----------------------------------------------------------------------------------------------


async def serving(box: Rig, name: str, **spec: object) -> Allocation:
    box.deploy(name, **spec)
    await box.until(lambda: box.hive.live(name)[0].state is AllocationState.HEALTHY)
    return box.hive.live(name)[0]


async def test_after_a_reboot_it_waits_for_what_it_needs_as_seen_now(box: Rig) -> None:
    runtime = await started(box)
    db = await serving(box, "db", check=command("db", retries=1000))
    web = await serving(box, "web", depends_on={"db": "healthy"})
    assert db.node == web.node
    runtime.answers = {"db": 1}
    await box.reboot(fake=runtime)
    await box.rest(60)
    assert box.status(web.id).message == "waits for app db to be healthy"
    assert not box.running(web.id)
    runtime.answers = {}
    await box.until(lambda: box.status(web.id).ready)


async def test_a_crash_waits_for_nobody(box: Rig) -> None:
    runtime = await started(box)
    db = await serving(box, "db", readiness=command("db", retries=1))
    web = await serving(box, "web", depends_on={"db": "healthy"})
    runtime.answers = {"db": 1}
    await box.until(lambda: box.status(db.id).message)
    box.machine.crash(f"{web.id}.0")
    await box.until(lambda: box.status(web.id).instance == 1 and box.status(web.id).ready, 5)


async def test_a_start_is_told_to_those_who_wait_for_it_also_later(box: Rig) -> None:
    runtime = await started(box)
    runtime.answers = {"db": 1}
    box.deploy("db", check=command("db", retries=1000))
    await box.until(lambda: box.running())
    await box.rest(20)
    assert not box.newest.started
    assert ("PLACED", "") not in box.reports
    box.deploy("web", depends_on={"db": "started"})
    await box.until(lambda: box.hive.live("web")[0].state is AllocationState.HEALTHY, 10)
