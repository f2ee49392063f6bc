"""Tasks whose executor is Slurm, through a whole node and a real Slurm: outputs, logs, cancelling, a gang."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator

import pytest

import private_slurm
from hivemind.daemon.destroy import destroy_machinery
from hivemind.daemon.node import Node
from hivemind.daemon.settings import load
from hivemind.drivers.runtimes.contract import LogQuery
from hivemind.model.base import decode, encode
from hivemind.model.job import JobManifest
from hivemind.model.names import DEFAULT_PROJECT
from hivemind.model.project import ProjectManifest
from hivemind.model.run import RunState, TaskRun, task_key
from hivemind.state.operations import CancelRun, PutJob, PutProject, StartRun

pytestmark = [pytest.mark.real, pytest.mark.anyio]


@pytest.fixture(scope="module")
def slurm() -> Iterator[private_slurm.PrivateSlurm]:
    with private_slurm.running() as one:
        yield one


@pytest.fixture
async def node(slurm: private_slurm.PrivateSlurm, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    """With plain commands only, and nothing that listens."""
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    with tempfile.TemporaryDirectory() as place:
        given = {
            "data_dir": f"{place}/d",
            "run_dir": f"{place}/r",
            "runtime": "process",
            "web_port": 0,
            "dns_port": 0,
        }
        settings = load(given, {})
        one = Node(settings)
        await one.start()
        try:
            yield one
        finally:
            await one.stop()
            await destroy_machinery(settings)


async def run(node: Node, tasks: dict[str, object]) -> str:
    state, who = node.backend.state, node.backend.administrator
    project = ProjectManifest(name=DEFAULT_PROJECT, permissions=("processes",))
    await node.submit(PutProject(manifest=project), who)
    manifest = decode(encode({"name": "work", "spec": {"tasks": tasks}}), JobManifest)
    await node.submit(PutJob(project=DEFAULT_PROJECT, manifest=manifest), who)
    await node.submit(StartRun(project=DEFAULT_PROJECT, job="work"), who)
    return max(state.runs.values(), key=lambda run: run.number).id


async def ended(node: Node, run: str) -> RunState:
    over = asyncio.Event()
    undo = node.ledger.subscribe(lambda batch: over.set())
    try:
        async with asyncio.timeout(60):
            while not node.backend.state.runs[run].state.ended:
                over.clear()
                await over.wait()
    finally:
        undo()
    return node.backend.state.runs[run].state


def task(node: Node, run: str, path: str) -> TaskRun:
    return node.backend.state.task_runs[task_key(run, path)]


async def test_outputs_logs_and_endings_come_back(node: Node) -> None:
    id = await run(
        node,
        {
            "well": {"executor": "slurm", "run": "echo on $SLURM_JOB_ID; echo x=1 >> $HIVEMIND_OUTPUT"},
            "badly": {"executor": "slurm", "run": "exit 3"},
            "both": {
                "executor": "slurm",
                "nodes": 2,
                "run": "echo size=$SLURM_JOB_NUM_NODES >> $HIVEMIND_OUTPUT",
            },
        },
    )
    assert await ended(node, id) is RunState.FAILED
    assert task(node, id, "well").outputs == {"x": "1"}
    assert task(node, id, "both").outputs == {"size": "2"}
    badly = task(node, id, "badly").attempts[-1]
    assert (badly.cause, badly.exit_code) == ("exit", 3)
    well = task(node, id, "well").attempts[-1].allocations[0]
    lines = [line.text async for line in node.backend._agent.attempts.logs(well, LogQuery())]
    assert [line.split()[0] for line in lines] == ["on"]


async def test_canceling_ends_it_there(node: Node, slurm: private_slurm.PrivateSlurm) -> None:
    id = await run(node, {"long": {"executor": "slurm", "run": "sleep 1000"}})
    await node.submit(CancelRun(project=DEFAULT_PROJECT, run=id, kill=True), node.backend.administrator)
    assert await ended(node, id) is RunState.CANCELED
