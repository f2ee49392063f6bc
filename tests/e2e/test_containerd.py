"""Apps on containerd: the same commands, and nothing of it left anywhere, in containerd neither."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

import private_containerd
from private_containerd import Containerd
from tests.e2e.conftest import Hatch
from tests.e2e.daemon import Daemon, alive
from tests.e2e.eventually import eventually
from tests.e2e.given import gets_its_contents
from tests.e2e.load import Load
from tests.e2e.pod import shares_and_heals

pytestmark = pytest.mark.real

WEB = ("--image", "web:1", "--name", "web-app", "--service", "web.local", "--port", "8080:8080",
       "--health-http", "8080/", "--update-min-healthy", "200ms")  # fmt: skip
BOX = ("--image", "busybox:1", "--stop-signal", "SIGKILL")


@pytest.fixture(scope="module")
def engine() -> Iterator[Containerd]:
    with private_containerd.running() as engine:
        yield engine


@pytest.fixture(scope="module")
def made(engine: Containerd, hatch: Hatch) -> Iterator[Daemon]:
    daemon = hatch("--runtime", "containerd", "--runtimes", "oci", "--containerd-address", engine.address)
    daemon.start()
    daemon.load("busybox", "web")
    yield daemon
    daemon.destroy()
    assert asyncio.run(engine.held("hivemind")) == {}
    assert engine.shims() == [] and engine.mounts() == []


@pytest.fixture
def node(made: Daemon, engine: Containerd) -> Iterator[Daemon]:
    yield made
    made.remove_apps()
    left = asyncio.run(engine.held("hivemind"))
    assert not left.keys() & {"tasks", "containers", "leases"}
    eventually(lambda: engine.shims() == [], "no shims")


def test_deploy_reach_scale_update_remove(node: Daemon, engine: Containerd) -> None:
    node.cli("app", "deploy", *WEB, "--replicas", "3")
    assert node.client.status().runtime == "containerd"
    assert asyncio.run(engine.held("hivemind"))["tasks"] == 3
    assert node.resolve("web.local") == {a.status.ip for a in node.ready("web-app", 3)}
    with Load(node, 8080) as load:
        eventually(lambda: len(load.answers) == 3, "an answer of each old replica")
        node.cli("app", "deploy", *WEB, "--replicas", "3", "--env", "VERSION=2")
        eventually(lambda: len(load.answers) == 6, "an answer of each new replica")
        node.cli("app", "scale", "web-app", "--replicas", "5")
        node.cli("app", "scale", "web-app", "--replicas", "1")
    assert load.failures == [], f"of {sum(load.answers.values())}"
    node.traces.must_be_clean()
    node.cli("app", "rm", "web-app")
    assert node.cli("ps", "-a", "-q").out == ""
    node.traces.must_be_clean()


def test_logs_exec_and_a_killed_container(node: Daemon) -> None:
    script = "echo up; n=0; while true; do n=$((n+1)); echo line $n; echo word $n >&2; sleep 0.1; done"
    node.cli(
        "app",
        "deploy",
        *BOX,
        "--name",
        "box",
        "--env",
        "FROM=spec",
        "--memory",
        "32MiB",
        "--",
        "sh",
        "-c",
        script,
    )
    eventually(lambda: "line 5" in node.cli("logs", "box").out, "five lines")
    said = node.cli("logs", "box.0")
    assert said.out.startswith("up\nline 1\n") and "word 1" in said.err
    assert node.cli("exec", "box", "sh", "-c", "echo $FROM; exit 7", code=7).out == "spec\n"
    assert node.cli("exec", "-i", "box", "wc", "-c", stdin="x" * 300_000).out.strip() == "300000"
    assert "box.0" in node.cli("stats", "--no-stream").out
    victim = node.replica("box")
    os.kill(victim.status.pid, signal.SIGKILL)

    def back() -> bool:
        status = node.client.allocations.get(victim.id).status
        return status.ready and status.restarts == 1

    eventually(back, "the next start")
    assert node.cli("logs", "box.0").out.count("up\n") == 2


def test_daemon_and_containerd_are_killed(node: Daemon, engine: Containerd) -> None:
    node.cli("app", "deploy", *WEB, "--replicas", "2")
    before = node.ready("web-app", 2)
    with Load(node, 8080) as load:
        node.kill()
        engine.kill()
        engine.start()
        node.start()
        eventually(lambda: len(node.ready("web-app", 2)) == 2, "both again")
        engine.kill()
        os.kill(before[1].status.pid, signal.SIGKILL)
        engine.start()
        eventually(lambda: node.ready("web-app", 2)[1].status.restarts == 1, "the killed one back")
    after = node.ready("web-app", 2)
    assert after[0].status.pid == before[0].status.pid and not alive(before[1].status.pid)
    assert after[0].status.restarts == 0
    cut = ("reset", "refused", "closed connection without response")
    odd = [failure for failure in load.failures if not any(word in failure for word in cut)]
    assert odd == [], "only requests to the killed container may fail"


def test_an_app_chooses_among_the_runtimes_of_a_node(node: Daemon, engine: Containerd) -> None:
    node.cli("app", "deploy", *BOX, "--name", "one", "--", "sleep", "1000")
    node.cli("app", "deploy", *BOX, "--name", "two", "--runtime", "oci", "--", "sleep", "1000")
    assert asyncio.run(engine.held("hivemind"))["tasks"] == 1
    assert list((node.data / "oci" / "containers").iterdir())
    node.ready("one", 1)
    node.ready("two", 1)
    assert "containerd, oci, process" in node.cli("node", "ls", "-o", "wide").out.replace(",", ", ").replace(
        "  ", " "
    )
    refused = node.cli("app", "deploy", *BOX, "--name", "three", "--runtime", "docker", "--dry-run", code=0)
    assert "does not offer the docker runtime" in refused.out + refused.err


def test_companions(node: Daemon) -> None:
    shares_and_heals(node)


def test_configs_and_secrets(node: Daemon) -> None:
    gets_its_contents(node)
