"""Plain commands on the process runtime, end to end."""

from __future__ import annotations

import os
import re
import signal
import sys

import pytest

from tests.e2e.conftest import Hatch
from tests.e2e.daemon import Daemon, alive
from tests.e2e.eventually import eventually
from tests.e2e.leftovers import ROOT

pytestmark = pytest.mark.real

HELLO = (
    "--runtime", "process", "--name", "hello", "--service", "hello.local", "--port", "18080:8080",
    "--health-http", "8080/", "--health-interval", "1s", "--entrypoint", sys.executable,
    "--command", str(ROOT / "tools/hello.py"),
)  # fmt: skip


def test_a_command_is_served_healed_and_outlives_the_daemon(fresh: Daemon) -> None:
    refused = fresh.cli("app", "deploy", *HELLO, code=3)
    assert "hivemind project allow default processes" in refused.err
    fresh.cli("project", "allow", "default", "processes")
    fresh.cli("app", "deploy", *HELLO, "--replicas", "2", "--memory", "128MiB")
    replicas = fresh.ready("hello", 2)
    seen: set[str] = set()

    def both() -> bool:
        seen.add(fresh.fetch("http://127.0.0.1:18080/").strip())
        return seen == {"hello from replica 0", "hello from replica 1"}

    eventually(both, "an answer of both")
    assert fresh.resolve("hello.local") == {"127.0.0.1"}
    assert "HIVEMIND_APP=hello" in fresh.cli("exec", "hello", "env").out
    assert "GET / " in fresh.cli("logs", "hello").out
    assert re.search(r"hello\.0 +- +Up", fresh.cli("ps").out)

    os.kill(replicas[0].status.pid, signal.SIGKILL)
    eventually(lambda: sum(a.status.restarts for a in fresh.ready("hello", 2)) == 1, "a restart")
    seen.clear()
    eventually(both, "an answer of both again")

    pids = [a.status.pid for a in fresh.ready("hello", 2)]
    fresh.kill()
    assert all(alive(pid) for pid in pids)
    fresh.start()
    assert [a.status.pid for a in fresh.ready("hello", 2)] == pids
    seen.clear()
    eventually(both, "an answer of both after the restart")

    fresh.cli("app", "scale", "hello", "--replicas", "1")
    assert not alive(pids[1]) and alive(pids[0])
    fresh.cli("app", "rm", "hello")
    assert not alive(pids[0])
    fresh.traces.must_be_clean()


def test_endings_of_commands(node: Daemon) -> None:
    node.cli("project", "allow", "default", "processes")
    plain = ("--runtime", "process", "--restart", "no", "-d")
    node.cli("app", "deploy", *plain, "--name", "fails", "--", "sh", "-c", "echo why; exit 6")
    node.cli("app", "deploy", *plain, "--name", "hungry", "--memory", "32MiB", "--", "tail", "/dev/zero")
    node.cli("app", "deploy", *plain, "--name", "missing", "--", "/no/such/program")

    def ends() -> dict[str, str]:
        return {a.app: a.state for a in node.client.allocations.list()}

    eventually(lambda: set(ends().values()) == {"failed"} and len(ends()) == 3, "all three ended")
    found = {a.app: a for a in node.client.allocations.list()}
    assert found["fails"].exit_code == 6
    assert node.cli("logs", "--no-prefix", "fails").out == "why\n"
    assert "out of memory (limit 32MiB)" in found["hungry"].reason
    assert "/no/such/program" in found["missing"].reason


def test_a_node_without_containers(hatch: Hatch) -> None:
    """`--runtime process`: images are refused with the reason, commands run."""
    daemon = hatch("--runtime", "process")
    daemon.start()
    assert "process" in daemon.cli("status").out
    daemon.cli("project", "allow", "default", "processes")
    daemon.cli("app", "deploy", "--name", "sleeps", "--runtime", "process", "--", "sleep", "1000")
    said = daemon.cli("app", "deploy", "--name", "web", "--image", "web:1", code=1)
    assert "hint: " in said.err and ("image" in said.err or "oci" in said.err), said.err
    daemon.remove_apps()
    daemon.destroy()
