"""An attempt from its placement to its end: begun once, reported as it was, and nothing is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_rig import IMAGE
from hivemind.errors import Invalid, Unavailable
from hivemind.model.allocation import AllocationState, AllocationStatus, Phase
from hivemind.model.job import Artifact, OutputSpec
from task_rig import TaskBox, task_box
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio
WAIT = "while :; do sleep 3600; done"


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


def nothing_left(tasks: TaskBox) -> None:
    assert not tasks.box.machine.containers
    assert not tasks.box.network.attachments()
    assert tasks.left() == []
    assert not list(tasks.box.store.range("allocation/")), "nobody is shown what is gone"


async def test_a_command_runs_to_its_end_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        id = tasks.place(script="exit 0")
        report = await tasks.reported(id)
        assert (report.state, report.cause, report.exit_code) == (AllocationState.COMPLETE, "exit", 0)
        assert 0 < report.started_at <= report.ended_at
        await tasks.clear()
        nothing_left(tasks)
        assert list((tasks.files / "kept").iterdir()) == []


@pytest.mark.parametrize(
    ("script", "cause", "code", "reason"),
    [
        ("exit 3", "exit", 3, "exit code 3"),
        ("kill -TERM", "signal", 143, "killed by signal 15"),
        ("no-such-thing", "exit", 127, "exit code 127"),
    ],
)
async def test_how_it_failed_is_told(tmp_path: Path, script: str, cause: str, code: int, reason: str) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        report = await tasks.reported(tasks.place(script=script))
        assert report.state is AllocationState.FAILED
        assert (report.cause, report.exit_code, report.reason) == (cause, code, reason)


async def test_out_of_memory_and_an_unknown_end_have_causes_of_their_own(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        for path, crash, cause in (("a", {"code": 137, "oom": True}, "oom"), ("b", {"code": None}, "lost")):
            id = tasks.place(path, WAIT)
            await tasks.running(id)
            tasks.box.machine.crash(f"{id}.0", **crash)  # type: ignore[arg-type]
            assert (await tasks.reported(id)).cause == cause


async def test_a_container_task_gets_an_image_an_address_and_a_place_to_write(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        id = tasks.place(script=WAIT, image=IMAGE)
        await tasks.running(id)
        spec = tasks.box.spec(f"{id}.0")
        assert spec.env["HIVEMIND_OUTPUT"] == "/run/hivemind/output"
        assert [mount.target for mount in spec.mounts] == ["/run/hivemind"]
        assert Path(spec.mounts[0].source, "output").exists()
        assert id in tasks.box.network.attachments()
        tasks.stop(id)
        await tasks.reported(id)
        await tasks.clear()
        nothing_left(tasks)


async def test_a_plain_command_has_a_directory_of_its_own_and_no_network(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        id = tasks.place(script=WAIT)
        await tasks.running(id)
        spec = tasks.box.spec(f"{id}.0")
        assert spec.workdir == spec.env["HOME"] == spec.env["TMPDIR"] == str(tasks.place_of(id) / "work")
        assert Path(spec.workdir).is_dir()
        assert not tasks.box.network.attachments()


async def test_cancelling_asks_first_and_kills_after_the_grace(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        gentle = tasks.place("a", WAIT, grace=30)
        stubborn = tasks.place("b", f"trap '' TERM; {WAIT}", grace=30)
        await tasks.running(gentle)
        await tasks.running(stubborn)
        began = tasks.box.loop.time()
        tasks.stop(gentle)
        tasks.stop(stubborn)
        assert (await tasks.reported(gentle)).state is AllocationState.STOPPED
        assert tasks.box.loop.time() - began < 1
        report = await tasks.reported(stubborn)
        assert (report.state, report.exit_code, report.reason) == (
            AllocationState.STOPPED, 137, "canceled by ann",
        )  # fmt: skip
        assert 29 < tasks.box.loop.time() - began < 32


async def test_a_kill_does_not_wait_for_the_grace_that_is_running(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        id = tasks.place(script=f"trap '' TERM; {WAIT}", grace=3600)
        await tasks.running(id)
        tasks.stop(id)
        await tasks.box.rest(5)
        assert not tasks.reports
        tasks.stop(id, kill=True)
        began = tasks.box.loop.time()
        assert (await tasks.reported(id)).state is AllocationState.STOPPED
        assert tasks.box.loop.time() - began < 1


async def test_what_ended_by_itself_just_before_it_was_told_to_is_reported_as_it_was(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        id = tasks.place(script=WAIT)
        await tasks.running(id)
        tasks.box.machine.crash(f"{id}.0", 0)
        tasks.attempts[id].exited(tasks.box.machine.containers[f"{id}.0"].exit)  # type: ignore[arg-type]
        tasks.stop(id)
        assert (await tasks.reported(id)).state is AllocationState.COMPLETE


async def test_one_that_is_canceled_before_it_began_never_begins(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        tasks.box.machine.delays["pull"] = 60
        await tasks.start()
        id = tasks.place(image=IMAGE)
        await tasks.box.rest(5)
        assert tasks.box.status(id).phase is Phase.PULLING
        tasks.stop(id)
        report = await tasks.reported(id)
        assert (report.state, report.started_at) == (AllocationState.STOPPED, 0)
        assert "start" not in {method for method, _ in tasks.box.machine.calls}
        await tasks.clear()
        nothing_left(tasks)


async def test_a_timeout_ends_it_and_is_told_as_such_also_by_the_next_daemon(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        id = tasks.place(script=f"trap '' TERM; {WAIT}", timeout=20, grace=30)
        await tasks.box.rest(10)
        await tasks.box.kill()
        await tasks.start()
        await tasks.box.rest(9)
        assert not tasks.reports
        await tasks.box.rest(3)
        await tasks.box.kill()  # it has been told to end, and has not yet
        tasks.box.machine.crash(f"{id}.0", 0)
        await tasks.start()
        report = await tasks.reported(id)
        assert (report.cause, report.state) == ("timeout", AllocationState.FAILED)
        assert report.reason == "it took longer than 20s"


async def test_what_cannot_be_started_says_why_at_once(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        missing = await tasks.reported(tasks.place("a", image="nobody/has-this:1"))
        nobody = await tasks.reported(tasks.place("b", template={"user": "nobody-like-this"}))
        for report, why in ((missing, "there is no image"), (nobody, "there is no user")):
            assert (report.state, report.cause) == (AllocationState.FAILED, "start")
            assert why in report.reason
        await tasks.clear()
        nothing_left(tasks)


async def test_an_order_that_cannot_be_made_fails_as_a_start(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        agent = await tasks.start()

        def refuse(*_: object) -> None:
            raise Invalid("needs.a has no output url")

        agent.attempts.order_of = refuse  # type: ignore[assignment]
        report = await tasks.reported(tasks.place())
        assert (report.cause, report.reason) == ("start", "needs.a has no output url")


async def test_trouble_that_passes_is_waited_out_and_trouble_that_lasts_is_told(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        tasks.box.machine.failures["create"] = Unavailable("the disk is full")
        assert (await tasks.reported(tasks.place("a"))).state is AllocationState.COMPLETE
        tasks.box.machine.failures = _Always("pull", Unavailable("the registry is down"))  # type: ignore[assignment]
        report = await tasks.reported(tasks.place("b", image=IMAGE))
        assert (report.cause, report.reason) == ("start", "the registry is down")


class _Always(dict[str, Unavailable]):
    def __init__(self, method: str, error: Unavailable) -> None:
        self._method, self._error = method, error

    def pop(self, method: str, default: object = None) -> object:  # type: ignore[override]
        return self._error if method == self._method else default


async def test_when_it_is_not_known_whether_it_began_it_is_lost_and_not_begun_again(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        tasks.box.machine.failures["start"] = Unavailable("no answer")
        report = await tasks.reported(tasks.place())
        assert (report.cause, report.reason) == ("lost", "starting it failed: no answer")
        assert [m for m, _ in tasks.box.machine.calls].count("start") == 1
        await tasks.clear()
        nothing_left(tasks)


async def test_outputs_are_read_and_what_is_no_output_makes_it_fail(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        specs = {"count": OutputSpec(type="integer"), "hosts": OutputSpec(file="/etc/hosts")}
        id = tasks.place(script=WAIT, image=IMAGE, outputs=specs)
        await tasks.running(id)
        told = Path(tasks.box.spec(f"{id}.0").mounts[0].source, "output")
        told.write_text("url=http://x\ncount=3\n")
        tasks.box.machine.crash(f"{id}.0", 0)
        report = await tasks.reported(id)
        assert report.outputs == {"url": "http://x", "count": 3, "hosts": "127.0.0.1 localhost"}
        for path, text, why in (
            ("b", "nonsense\n", "line 1 of the outputs"),
            ("c", "count=many\n", "the output count"),
            ("d", "x=" + "y" * 300_000, "larger than"),
        ):
            id = tasks.place(path, WAIT, outputs=specs)
            await tasks.running(id)
            (tasks.place_of(id) / "output").write_text(text)
            tasks.box.machine.crash(f"{id}.0", 0)
            report = await tasks.reported(id)
            assert (report.state, report.cause, report.exit_code) == (AllocationState.FAILED, "exit", None)
            assert why in report.reason


async def test_an_output_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key=of the machine\n")
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        id = tasks.place(script=WAIT)
        await tasks.running(id)
        (tasks.place_of(id) / "output").symlink_to(tmp_path / "secret")
        tasks.box.machine.crash(f"{id}.0", 0)
        report = await tasks.reported(id)
        assert report.outputs == {}
        assert "cannot be read" in report.reason


async def test_the_step_that_failed_is_named(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        id = tasks.place(script=WAIT, steps=("fetch", "test"))
        await tasks.running(id)
        (tasks.place_of(id) / "steps" / "status").write_text("begin 1\nend 1 0\nbegin 2\nend 2 4\n")
        tasks.box.machine.crash(f"{id}.0", 4)
        assert (await tasks.reported(id)).reason == "step 'test': exit code 4"


async def test_the_log_is_there_as_long_as_the_run_is(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        id = tasks.place(script="echo one; echo two; sleep 5; echo three")
        await tasks.running(id)
        await tasks.box.rest(1)
        assert await tasks.logs(id) == ["one", "two"]
        assert await tasks.logs(id, follow=True) == ["one", "two", "three"]
        await tasks.clear()
        assert not tasks.box.machine.containers
        assert await tasks.logs(id) == ["one", "two", "three"]
        assert await tasks.logs(id, tail=1, follow=True) == ["three"]
        await tasks.box.kill()
        await tasks.start()
        assert await tasks.logs(id) == ["one", "two", "three"]
        tasks.forget_run()
        await tasks.box.until(lambda: not list((tasks.files / "kept").iterdir()))


async def test_following_begins_before_the_attempt_does(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        tasks.box.machine.delays["pull"] = 30
        await tasks.start()
        id = tasks.place(script="echo one; exit 1", image=IMAGE)
        assert await tasks.logs(id, follow=True) == ["one"]


async def test_artifacts_are_kept_and_a_missing_one_makes_it_fail(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        agent = await tasks.start()
        wanted = (Artifact(path="dist"), Artifact(path="logs/**/*.txt"), Artifact(path="no", optional=True))
        id = tasks.place(script=WAIT, artifacts=wanted)
        await tasks.running(id)
        work = tasks.place_of(id) / "work"
        for name in ("dist/a", "logs/b.txt", "logs/deep/er/c.txt", "logs/d.bin"):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(name)
        (work / "dist" / "out").symlink_to("/etc/passwd")
        tasks.box.machine.crash(f"{id}.0", 0)
        assert (await tasks.reported(id)).state is AllocationState.COMPLETE
        await tasks.clear()
        kept = [tuple(one) for one in agent.attempts.artifacts(id)]
        sizes = len("logs/b.txt") + len("logs/deep/er/c.txt")
        assert kept == [("*.txt", sizes, 2), ("dist", len("dist/a"), 1)]
        missing = tasks.place("b", artifacts=(Artifact(path="report.html"),))
        report = await tasks.reported(missing)
        assert (report.state, report.exit_code) == (AllocationState.FAILED, None)
        assert "there is no artifact report.html" in report.reason


async def test_artifacts_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        agent = await tasks.start()
        agent.attempts.artifact_limit = 1000
        id = tasks.place(script=WAIT, artifacts=(Artifact(path="big"),))
        await tasks.running(id)
        (tasks.place_of(id) / "work" / "big").write_bytes(bytes(1001))
        tasks.box.machine.crash(f"{id}.0", 0)
        assert "larger than 1000" in (await tasks.reported(id)).reason
        assert agent.attempts.artifacts(id) == []


async def test_a_short_attempt_costs_the_store_nothing_a_long_one_is_shown(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        written: list[str] = []
        tasks.box.store.subscribe("allocation/", lambda entries: written.extend(e.key for e in entries))
        short = tasks.place("a", "sleep 0.5")
        await tasks.reported(short)
        await tasks.clear()
        assert written == []
        long = tasks.place("b", WAIT)
        await tasks.box.rest(2)
        status: AllocationStatus = tasks.box.status(long)
        assert (status.phase, status.runtime, status.pid > 0) == (Phase.RUNNING, "fake", True)
        assert tasks.box.agent and tasks.box.agent.running(long)[1] == f"{long}.0"
        assert (long, "") in tasks.box.agent.running_containers()


async def test_an_older_attempt_of_the_same_task_is_dead_before_the_newer_one_begins(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        old = tasks.place(script=f"trap '' TERM; {WAIT}")
        await tasks.running(old)
        tasks.box.machine.delays["stop"] = 7
        tasks.lose(old)
        new = tasks.place(script=WAIT, attempt=2)
        await tasks.box.rest(3)
        assert tasks.box.running() == [f"{old}.0"]
        await tasks.running(new)
        assert tasks.box.running() == [f"{new}.0"]
        assert not tasks.reports


async def test_an_older_attempt_that_comes_late_never_begins(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        new = tasks.place(script=WAIT, attempt=2)
        await tasks.running(new)
        old = tasks.place(script=WAIT, attempt=1)
        await tasks.box.until(lambda: old not in tasks.attempts)
        assert tasks.box.running() == [f"{new}.0"]


async def test_a_container_of_an_attempt_that_nobody_knows_is_killed_when_the_daemon_starts(
    tmp_path: Path,
) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        id = tasks.place(script=f"echo said; {WAIT}")
        await tasks.running(id)
        await tasks.box.kill()
        tasks.lose(id)
        newer = tasks.place(script="exit 0", attempt=2)
        await tasks.start()
        await tasks.reported(newer)
        await tasks.clear()
        nothing_left(tasks)
        assert await tasks.logs(id) == ["said"], "its run is known, and so its log is kept"


async def test_members_of_a_gang_know_each_other_before_any_begins(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        first = tasks.place("g", WAIT, image=IMAGE, rank=0, size=2)
        await tasks.box.rest(5)
        assert not tasks.box.running()
        assert tasks.box.status(first).message == "waits for the other 1 members of its gang"
        second = tasks.place("g", WAIT, image=IMAGE, rank=1, size=2)
        await tasks.running(first)
        await tasks.running(second)
        ips = [tasks.box.network.attachments()[id].ip for id in (first, second)]
        for id in (first, second):
            assert tasks.box.spec(f"{id}.0").env["HIVEMIND_MEMBERS"] == ",".join(ips)


async def test_after_a_reboot_what_left_no_trace_is_lost_and_not_begun(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        await tasks.start()
        id = tasks.place(script=WAIT)
        await tasks.running(id)
        await tasks.box.kill()
        tasks.box.machine.crash(f"{id}.0")
        tasks.box.machine.containers.clear()  # the power went before its record was on the disk
        tasks.box.machine.untold.clear()
        tasks.box.boots += 1
        await tasks.start()
        report = await tasks.reported(id)
        assert report.cause == "lost"
        assert not tasks.box.running()
