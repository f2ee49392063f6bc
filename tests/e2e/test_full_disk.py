"""The disk of the data directory, a file system of its own, is full while a run goes on. What runs goes on, nothing
half-done is agreed, and once there is space again everything that happened meanwhile is told."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind.errors import Unavailable
from tests.e2e.conftest import Hatch
from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually
from tests.e2e.test_jobs import ended, put, tasks

pytestmark = pytest.mark.real

JOB = """
name: full
tasks:
  quiet: {run: "echo begun >> HOME/quiet; while [ ! -e HOME/gate ]; do sleep 0.05; done; exit 3"}
  after: {needs: {quiet: failure}, run: "echo begun >> HOME/after; echo said"}
  loud: {run: "echo begun >> HOME/loud; while [ ! -e HOME/gate ]; do sleep 0.05; done; echo x > here"}
"""


@pytest.fixture
def small(hatch: Hatch) -> Iterator[Daemon]:
    """A daemon whose data directory is a file system of 24 MiB."""
    node = hatch()
    node.data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(node.data)], check=True)
    node.start()
    yield node
    node.destroy()


def fill(place: Path) -> Path:
    """To the last byte."""
    file = place / "filler"
    with file.open("wb", buffering=0) as filling:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while filling.write(bytes(size)):
                    pass
            except OSError:
                continue
    return file


def begun(node: Daemon, name: str) -> int:
    file = node.home / name
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_what_happens_on_a_full_disk_is_told_once_there_is_space(small: Daemon) -> None:
    small.cli("project", "allow", "default", "processes")
    put(small, JOB.replace("HOME", str(small.home)))
    run = small.client.jobs.run("full").name
    eventually(lambda: begun(small, "quiet") and begun(small, "loud"), "both run")
    filler = fill(small.data)
    with pytest.raises(Unavailable, match="is full"):
        small.client.jobs.run("full")
    (small.home / "gate").touch()
    eventually(lambda: "did not take a report" in small.log.read_text(), "an outcome that cannot be agreed")
    assert {task.state for task in tasks(small, run).values()} == {"running", "pending"}
    small.kill()
    small.launch()
    assert small.process and small.process.wait(60) == Unavailable.exit_code
    assert "error: the disk that holds" in small.log.read_text()
    filler.unlink()
    small.start()
    assert ended(small, run).state == "failed"
    found = tasks(small, run)
    assert (found["quiet"].state, found["quiet"].exit_code) == ("failed", 3)
    assert found["loud"].state == "failed" and "No space left" in found["loud"].reason
    assert found["after"].state == "succeeded"
    assert [begun(small, name) for name in ("quiet", "loud", "after")] == [1, 1, 1]
    assert [line.text for line in small.client.runs.logs(run, task="after")] == ["said"]
    assert ended(small, small.client.jobs.run("full").name).state == "failed"
