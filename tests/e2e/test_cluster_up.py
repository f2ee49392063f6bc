"""`hivemind cluster up`: a whole cluster from one file, which leaves nothing behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hivemind.cli.local_cluster import daemons
from hivemind.cli.local_cluster.place import VARIABLE, Place
from hivemind.cli.local_cluster.ports import take
from tests.e2e.eventually import eventually
from tests.e2e.leftovers import COMMAND, environment

pytestmark = pytest.mark.real
_PATIENCE = 90


class Local(NamedTuple):
    file: Path
    place: Place
    log: Path
    port: int

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "cluster", *words, "--file", str(self.file)], env=_env(), capture_output=True, text=True,
            timeout=_PATIENCE,
        )  # fmt: skip

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [*COMMAND, "cluster", "up", "--file", str(self.file), *words],
                env=_env(),
                stdout=log,
                stderr=log,
            )

    def running(self) -> dict[int, int]:
        found = self.place.read()
        return daemons.pids(found.nodes) if found else {}


def _env() -> dict[str, str]:
    return {**environment(), VARIABLE: os.environ[VARIABLE]}


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "c"))
    http, ws = take(30001, 40000, 2)
    file = tmp_path / "cluster-config.yaml"
    file.write_text(
        f"swarm: small\nnodes:\n  count: 3\n  httpPort: {http}\n  wsPort: {ws}\n"
        "  randomPortRange:\n    min: 40001\n    max: 50000\ncleanup: true\n"
    )
    made = Local(file, Place("small"), tmp_path / "log", http)
    yield made
    done = made.run("down")
    assert done.returncode == 0, done.stderr
    assert not made.place.home.exists() and not made.running()


def test_it_feeds_its_nodes_and_ctrl_c_removes_everything(local: Local) -> None:
    process = local.begin("--simulate-tasks")
    try:
        eventually(
            lambda: all(f"small-{n}=" in local.log.read_text() for n in (1, 2, 3)), "every node has worked"
        )
        assert set(local.running()) == {1, 2, 3}
        for name in ("small-2", "small-3"):
            assert re.search(rf"{name}: ready  let in at small-\d, found by the DHT", local.log.read_text())
        found = local.place.read()
        assert found
        for port in (found.nodes[0].web_port, found.nodes[0].ws_port):
            socket.create_connection(("127.0.0.1", port), 5).close()
        assert local.run("up").returncode == 5, "one command watches over it"
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(_PATIENCE) == 0
    assert not local.place.home.exists()


def test_what_a_killed_one_left_is_removed_by_the_next(local: Local) -> None:
    process = local.begin()
    eventually(lambda: "small-3: ready" in local.log.read_text(), "it runs")
    process.kill()
    process.wait()
    before = local.running()
    assert set(before) == {1, 2, 3}, "the daemons outlive whoever started them"
    assert local.run("up", "--detach").returncode == 0
    after = local.running()
    assert set(after) == {1, 2, 3} and not set(after.values()) & set(before.values())
