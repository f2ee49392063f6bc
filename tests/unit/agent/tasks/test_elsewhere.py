"""Attempts that an engine runs: handed over once, found again, stopped there, and forgotten there at the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from hivemind.agent.agent import Agent
from hivemind.drivers.executors.contract import Job, Progress, Stream
from hivemind.errors import HivemindError, Invalid, Unavailable, Unsupported
from hivemind.model.allocation import AllocationState
from hivemind.model.isolation import Isolation
from hivemind.model.job import Artifact
from hivemind.model.network import NetworkOptions
from task_rig import TaskBox, task_box
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


class Engine:
    """What outlives the daemons: jobs by id."""

    name = "slurm"
    options: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.progress: dict[str, Progress] = {}
        self.ended: dict[str, asyncio.Event] = {}
        self.said: dict[str, bytes] = {}
        self.submitted: list[str] = []
        self.told: list[tuple[str, bool]] = []
        self.forgotten: list[str] = []
        self.missing = ""
        self.refusal: HivemindError | None = None

    async def open(self) -> None:
        if self.missing:
            raise Unsupported(self.missing, hint="apt-get install slurm-client")

    async def close(self) -> None: ...

    async def submit(self, id: str, job: Job) -> str:
        if self.refusal:
            raise self.refusal
        if id not in self.jobs:
            self.submitted.append(id)
            self.jobs[id] = job
            self.progress[id] = Progress(standing="running")
        return "17"

    async def find(self, id: str, job: Job) -> str | None:
        return "17" if id in self.jobs else None

    async def poll(self, id: str, job: Job) -> Progress:
        return self.progress[id]

    async def wait(self, id: str, job: Job) -> Progress:
        await self.ended.setdefault(id, asyncio.Event()).wait()
        return self.progress[id]

    async def cancel(self, id: str, job: Job, *, kill: bool = False) -> None:
        self.told.append((id, kill))
        self.end(id, cause="canceled", exit_code=143)

    async def output(self, id: str, job: Job, stream: Stream, offset: int = 0) -> bytes:
        return self.said.get(id, b"")[offset:] if stream == "stdout" else b""

    async def forget(self, id: str, job: Job) -> None:
        self.forgotten.append(id)
        self.jobs.pop(id, None)

    def end(self, id: str, **how: object) -> None:
        self.progress[id] = replace(Progress(standing="ended"), **how)  # type: ignore[arg-type]
        self.ended.setdefault(id, asyncio.Event()).set()


async def start(tasks: TaskBox, engine: Engine) -> Agent:
    agent = await tasks.start()

    async def executor(name: str) -> Engine:
        await engine.open()
        return engine

    agent.attempts.executor = executor  # type: ignore[method-assign]
    return agent


async def test_it_is_handed_over_reported_kept_and_forgotten(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        engine = Engine()
        agent = await start(tasks, engine)
        id = tasks.place(executor="slurm", artifacts=(Artifact(path="result"),), size=3)
        await tasks.box.until(lambda: id in engine.jobs)
        job = engine.jobs[id]
        assert (job.argv, job.nodes) == (("sh", "-c", "true"), 3)
        Path(job.workdir, "result").write_text("42")
        Path(job.env["HIVEMIND_OUTPUT"]).write_text("answer=42\n")
        engine.said[id] = b"one\ntwo"
        engine.end(id, cause="exit", exit_code=0)
        report = await tasks.reported(id)
        assert (report.state, report.outputs) == (AllocationState.COMPLETE, {"answer": "42"})
        await tasks.clear()
        assert engine.forgotten == [id]
        assert await tasks.logs(id) == ["one", "two"]
        assert [one.name for one in agent.attempts.artifacts(id)] == ["result"]
        assert tasks.left() == []


async def test_the_next_daemon_finds_it_and_does_not_hand_it_over_again(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        engine = Engine()
        await start(tasks, engine)
        id = tasks.place(executor="slurm")
        await tasks.box.until(lambda: id in engine.jobs)
        await tasks.box.kill()
        engine.end(id, cause="oom", exit_code=137, reason="out of memory on n7")
        await start(tasks, engine)
        report = await tasks.reported(id)
        assert (report.cause, report.reason) == ("oom", "out of memory on n7")
        assert engine.submitted == [id]


async def test_canceling_is_told_to_the_engine(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        engine = Engine()
        await start(tasks, engine)
        id = tasks.place(executor="slurm")
        await tasks.box.until(lambda: id in engine.jobs)
        tasks.stop(id)
        assert (await tasks.reported(id)).state is AllocationState.STOPPED
        assert engine.told == [(id, False)]


async def test_what_the_hive_has_forgotten_is_ended_there(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        engine = Engine()
        await start(tasks, engine)
        id = tasks.place(executor="slurm")
        await tasks.box.until(lambda: id in engine.jobs)
        await tasks.box.kill()
        tasks.lose(id)
        await start(tasks, engine)
        await tasks.clear()
        assert engine.told == [(id, True)]
        assert engine.forgotten == [id]
        assert tasks.left() == []


async def test_a_missing_engine_is_a_start_that_failed(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        engine = Engine()
        engine.missing = "there is no sbatch on this node"
        await start(tasks, engine)
        report = await tasks.reported(tasks.place(executor="slurm"))
        assert (report.state, report.cause) == (AllocationState.FAILED, "start")
        assert report.reason == "there is no sbatch on this node (apt-get install slurm-client)"
        image = await tasks.reported(tasks.place("b", executor="slurm", image="web:1"))
        assert "without images" in image.reason


async def test_what_the_engine_refuses_is_told_and_forgotten(tmp_path: Path) -> None:
    async with task_box(tmp_path) as tasks:
        engine = Engine()
        engine.refusal = Invalid("no such partition: gpu")
        await start(tasks, engine)
        report = await tasks.reported(tasks.place(executor="slurm"))
        assert (report.cause, report.reason) == ("start", "no such partition: gpu")
        await tasks.clear()
        assert tasks.left() == []


async def test_an_engine_that_does_not_answer_is_asked_for_a_while_unless_it_may_have_the_job(
    tmp_path: Path,
) -> None:
    async with task_box(tmp_path) as tasks:
        engine = Engine()
        engine.refusal = Unavailable("no answer")
        await start(tasks, engine)
        assert (await tasks.reported(tasks.place("a", executor="slurm"))).cause == "start"
        engine.refusal = None
        handed = tasks.place("b", executor="slurm")
        await tasks.box.until(lambda: handed in engine.jobs)
        await tasks.box.kill()
        engine.missing = "slurm.conf is gone"
        await start(tasks, engine)
        await tasks.box.rest(300)
        assert len(tasks.reports) == 1, "it runs there"
        engine.missing = ""
        engine.end(handed, exit_code=0)
        assert (await tasks.reported(handed)).state is AllocationState.COMPLETE


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ({"user": "nobody"}, "run it as nobody"),
        ({"isolation": Isolation(read_only=True)}, "isolate it"),
        ({"network": NetworkOptions(mode="none")}, "a network of its own"),
    ],
)
async def test_what_an_engine_would_pass_over_is_refused(
    tmp_path: Path, template: dict[str, object], why: str
) -> None:
    """A command that was to run as nobody must not run as root, unseen."""
    engine = Engine()
    async with task_box(tmp_path) as tasks:
        await start(tasks, engine)
        report = await tasks.reported(tasks.place(executor="slurm", template=template))
        assert (report.state, report.cause) == (AllocationState.FAILED, "start")
        assert why in report.reason
        assert not engine.submitted
