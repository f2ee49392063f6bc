"""What a real Slurm does that others do not: gangs, queues, people who cancel, a controller that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import private_slurm
from tests.private_slurm import PrivateSlurm

from hivemind.drivers.executors.contract import Job, Progress
from hivemind.drivers.executors.slurm import Slurm
from hivemind.errors import Invalid, Unavailable, Unsupported

pytestmark = [pytest.mark.real, pytest.mark.anyio]


@pytest.fixture(scope="module")
def slurm() -> Iterator[PrivateSlurm]:
    with private_slurm.running() as one:
        yield one


@pytest.fixture
async def executor(slurm: PrivateSlurm) -> Slurm:
    one = Slurm(slurm.environment)
    await one.open()
    return one


def _job(place: Path, script: str, **more: object) -> Job:
    return Job(argv=("/bin/sh", "-c", script), directory=str(place), memory=64 << 20, **more)  # type: ignore[arg-type]


async def _ended(executor: Slurm, id: str, job: Job) -> Progress:
    return await asyncio.wait_for(executor.wait(id, job), 60)


async def _stands(executor: Slurm, id: str, job: Job, standing: str) -> Progress:
    async with asyncio.timeout(60):
        while (progress := await executor.poll(id, job)).standing != standing:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return progress


async def test_a_gang_begins_on_all_its_nodes(executor: Slurm, tmp_path: Path) -> None:
    script = 'echo "$HIVEMIND_RANK of $HIVEMIND_SIZE on $SLURMD_NODENAME with $PASSWORD"'
    job = _job(tmp_path, script, nodes=2, env={"PASSWORD": "sesame"})
    await executor.submit("gang", job)
    done = await _ended(executor, "gang", job)
    assert done.exit_code == 0, await executor.output("gang", job, "stderr")
    lines = sorted((await executor.output("gang", job, "stdout")).decode().splitlines())
    assert lines == ["0 of 2 on one with sesame", "1 of 2 on two with sesame"]


async def test_one_member_of_a_gang_that_fails_fails_all(executor: Slurm, tmp_path: Path) -> None:
    job = _job(tmp_path, '[ "$HIVEMIND_RANK" = 0 ] && exec sleep 60; exit 5', nodes=2)
    await executor.submit("broken-gang", job)
    assert (await _ended(executor, "broken-gang", job)).exit_code not in (0, None)


async def test_one_that_waits_says_why_and_can_be_canceled(executor: Slurm, tmp_path: Path) -> None:
    job = _job(tmp_path, "true", options={"partition": "closed"})
    await executor.submit("waits", job)
    waiting = await _stands(executor, "waits", job, "waiting")
    assert "PartitionDown" in waiting.reason
    await executor.cancel("waits", job)
    assert (await _ended(executor, "waits", job)).cause == "canceled"


async def test_one_that_a_person_cancels_in_slurm(
    executor: Slurm, slurm: PrivateSlurm, tmp_path: Path
) -> None:
    job = _job(tmp_path, "sleep 60")
    name = await executor.submit("scanceled", job)
    await _stands(executor, "scanceled", job, "running")
    slurm.run("scancel", name)
    done = await _ended(executor, "scanceled", job)
    assert (done.cause, done.reason) == ("canceled", "it was canceled in Slurm")


async def test_a_controller_that_goes_away_says_nothing_of_the_job(
    slurm: PrivateSlurm, tmp_path: Path
) -> None:
    executor = Slurm({**slurm.environment, "SLURM_CONF": str(_impatient(slurm))})
    job = _job(tmp_path, "sleep 3; exit 4")
    await executor.submit("patient", job)
    await _stands(executor, "patient", job, "running")
    slurm.stop_controller()
    try:
        with pytest.raises(Unavailable):
            await executor.find("other", _job(tmp_path / "none", "true"))
        done = await _ended(executor, "patient", job)
    finally:
        slurm.start_controller()
    assert done.exit_code == 4


def _impatient(slurm: PrivateSlurm) -> Path:
    """A configuration by which commands give up soon."""
    path = slurm.place / "impatient.conf"
    path.write_text((slurm.place / "slurm.conf").read_text() + "MessageTimeout=2\nSlurmctldTimeout=2\n")
    return path


async def test_what_slurm_refuses(executor: Slurm, tmp_path: Path) -> None:
    for options in ({"partition": "nowhere"}, {"nodelist": "mars"}):
        job = _job(tmp_path, "true", options=options)
        with pytest.raises(Invalid, match="Slurm refuses"):
            await executor.submit("refused", job)


async def test_a_machine_without_slurm(tmp_path: Path) -> None:
    with pytest.raises(Unsupported) as refused:
        await Slurm({"PATH": str(tmp_path)}).open()
    assert "sbatch" in refused.value.message
    assert "slurm-client" in refused.value.hint
