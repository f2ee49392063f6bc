"""What breaks is mended, and whoever asks is told what broke."""

from __future__ import annotations

import os
import re
import signal
from functools import partial
from pathlib import Path

import pytest

from hivemind.model.allocation import AllocationDocument
from tests.e2e.daemon import Daemon, alive
from tests.e2e.eventually import eventually

pytestmark = pytest.mark.real

WEB = ("--image", "web:1", "--name", "web-app", "--service", "web.local", "--port", "8080:8080")
BOX = ("--image", "busybox:1", "--stop-signal", "SIGKILL")


def restarted(node: Daemon, old: AllocationDocument) -> AllocationDocument:
    """The same allocation, ready again as a later instance."""

    def look() -> AllocationDocument | None:
        new = node.client.allocations.get(old.id)
        return new if new.status.ready and new.status.restarts > old.status.restarts else None

    found = eventually(look, f"{old.name} restarted")
    assert found
    return found


def test_a_killed_container_comes_back(node: Daemon) -> None:
    node.cli("app", "deploy", *WEB, "--health-http", "8080/", "--replicas", "2")
    victim, other = node.ready("web-app", 2)
    os.kill(victim.status.pid, signal.SIGKILL)
    back = restarted(node, victim)
    assert back.status.pid != victim.status.pid and not alive(victim.status.pid)
    assert back.status.last and back.status.last.signal == 9
    assert "killed by signal 9" in back.status.last.reason
    assert node.resolve("web.local") == {back.status.ip, other.status.ip}
    assert node.replicas("web-app")[1].status.restarts == 0

    # Both instances' logs are there: each says once that it serves.
    assert node.cli("logs", victim.id).out.count("serving version 1") == 2
    assert any("killed by signal 9" in message for message in node.events("web-app", "allocation.exited"))
    node.cli("app", "rm", "web-app")


def test_nobody_is_sent_to_a_replica_that_does_not_serve_yet(node: Daemon) -> None:
    """Here one that was started again waits in vain for another app."""
    node.cli("app", "deploy", "--image", "web:1", "--name", "gate", "--port", "8080")
    script = "until wget -q -O - http://gate:8080; do sleep 0.3; done; exec serve-web"
    node.cli("app", "deploy", *WEB, "--entrypoint", f"sh -c '{script}'", "--health-http", "8080/",
             "--health-interval", "200ms", "--health-retries", "1000", "--replicas", "2")  # fmt: skip
    victim, other = node.ready("web-app", 2)
    node.cli("app", "stop", "gate")
    os.kill(victim.status.pid, signal.SIGKILL)
    eventually(lambda: node.resolve("web.local") == {other.status.ip}, "the name without the replica")
    eventually(lambda: node.replicas("web-app")[0].status.phase == "running", "its next start")
    assert node.resolve("web.local") == {other.status.ip}
    assert all("web-app-1" in node.fetch("http://127.0.0.1:8080/") for _ in range(10))
    node.cli("app", "start", "gate")
    back = restarted(node, victim)
    assert node.resolve("web.local") == {back.status.ip, other.status.ip}


def test_failing_health_takes_out_restarts_and_brings_back(node: Daemon) -> None:
    node.cli("app", "deploy", *WEB, "--health-http", "8080/", "--health-interval", "300ms", "--health-retries",
             "2", "--replicas", "2")  # fmt: skip
    victim, other = node.ready("web-app", 2)
    # Its server freezes, but the container goes on.
    node.cli("exec", "web-app.0", "killall", "-STOP", "httpd")
    eventually(lambda: node.resolve("web.local") == {other.status.ip}, "the name without the sick replica")
    back = restarted(node, victim)
    eventually(
        lambda: node.resolve("web.local") == {back.status.ip, other.status.ip}, "the name with both again"
    )
    assert "unhealthy" in node.cli("describe", "app", "web-app").out
    assert node.events("web-app", "allocation.unhealthy")


def test_health_by_a_command_and_by_tcp(node: Daemon) -> None:
    common = ("--health-interval", "300ms", "--health-retries", "2")
    node.cli("app", "deploy", *WEB, "--health-tcp", "8080", *common)
    node.cli("app", "deploy", *BOX, "--name", "box", "--health-cmd", "test -e /tmp/well", *common, "-d", "--",
             "sh", "-c", "touch /tmp/well; exec sleep 1000")  # fmt: skip
    (box,) = node.ready("box", 1)
    node.cli("exec", "box", "rm", "/tmp/well")
    assert restarted(node, box).status.health == "passing"


def test_a_crash_loop_backs_off_and_says_when_it_tries_again(node: Daemon) -> None:
    said = node.cli(
        "app", "deploy", *BOX, "--name", "loop", "--", "sh", "-c", "echo last words; exit 3", code=1
    )
    assert "last words" in said.err and "exit code 3" in said.err and "hint:" in said.err
    assert node.app("loop").status.phase in ("failing", "degraded")

    def waiting() -> bool:
        status = node.replica("loop").status
        assert status.phase == "backoff", status
        return bool(re.search(r"exit code 3; back-off \d+(\.\d+)?s, restart \d+", status.message))

    eventually(waiting, "the back-off with the time of the next start")
    assert "Backoff (exit code 3)" in node.cli("ps").out
    assert "exit code 3" in node.cli("app", "info", "loop").out
    assert "last words" in node.cli("logs", "loop").out


def test_out_of_memory_says_so_with_the_limit(node: Daemon) -> None:
    node.cli("app", "deploy", *BOX, "--name", "hungry", "--memory", "16MiB", "--restart", "no", "-d", "--", "tail",
             "/dev/zero")  # fmt: skip
    eventually(lambda: [a for a in node.client.allocations.list(app="hungry") if a.state == "failed"])
    (ended,) = node.client.allocations.list(app="hungry")
    assert "out of memory (limit 16MiB)" in ended.reason
    assert ended.status.last and ended.status.last.oom and ended.exit_code == 137
    assert "out of memory (limit 16MiB)" in node.cli("app", "info", "hungry").out
    assert "Exited (137)" in node.cli("ps", "-a").out


def test_restart_policies(node: Daemon) -> None:
    node.cli("app", "deploy", *BOX, "--name", "twice", "--restart", "on-failure:2", "-d", "--", "sh", "-c",
             "echo again; exit 4")  # fmt: skip
    node.cli("app", "deploy", *BOX, "--name", "once", "--restart", "no", "-d", "--", "sh", "-c", "exit 4")
    node.cli("app", "deploy", *BOX, "--name", "done", "--restart", "on-failure", "-d", "--", "true")

    def states() -> dict[str, str]:
        return {a.app: f"{a.state} {a.exit_code} {a.status.restarts}" for a in node.client.allocations.list()}

    wanted = {"twice": "failed 4 2", "once": "failed 4 0", "done": "complete 0 0"}
    eventually(lambda: states() == wanted, f"{wanted}")
    assert node.app("done").status.phase == "completed"
    node.traces.must_be_clean()


def test_run(node: Daemon) -> None:
    assert node.cli("run", "--rm", "busybox:1", "echo", "hello").out == "hello\n"
    assert node.cli("run", "--rm", "busybox:1", "sh", "-c", "echo oops >&2; exit 9", code=9).err.endswith(
        "oops\n"
    )
    assert node.cli("run", "--rm", "-e", "A=b", "busybox:1", "sh", "-c", "echo $A").out == "b\n"
    eventually(lambda: node.client.apps.list() == [], "all of them removed")
    assert node.cli("run", "-d", "--name", "kept", "busybox:1", "true").out == "kept\n"
    eventually(lambda: "Exited (0)" in node.cli("ps", "-a").out, "it ended")
    node.cli("rm", "kept")
    node.cli("run", "-d", "--name", "runs", "--stop-signal", "SIGKILL", "busybox:1", "sleep", "1000")
    assert "is running" in node.cli("rm", "runs", code=5).err
    node.cli("stop", "runs")
    node.cli("rm", "runs")


def test_what_never_ran_leaves_nothing(node: Daemon) -> None:
    for how in ("--rm", "-d", "-i"):
        said = node.cli("run", how, "--pull", "never", "--name", "typo", "bysibox:1", code=1)
        assert "no image" in said.err and "nothing of it is left" in said.err
        eventually(lambda: node.client.apps.list() == [], "it is gone")
    node.traces.must_be_clean()


def test_limits_hold_inside(node: Daemon) -> None:
    node.cli("app", "deploy", *BOX, "--name", "box", "--memory", "32MiB", "--cpus", "0.5", "--pids", "20", "--",
             "sleep", "1000")  # fmt: skip
    pid = node.replica("box").status.pid
    assert read_limit(pid, "memory", "memory.limit_in_bytes", "memory.max") == str(32 << 20)
    assert read_limit(pid, "pids", "pids.max", "pids.max") == "20"
    quota = read_limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0]
    assert int(quota) == 50_000
    fork_bomb = "for n in $(seq 30); do sleep 5 & done"
    assert "fork" in node.cli("exec", "box", "sh", "-c", fork_bomb, code=2).err


def read_limit(pid: int, controller: str, v1: str, v2: str) -> str:
    """Of the control group that the process is in."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return Path(f"/sys/fs/cgroup/{controller}{path}/{v1}").read_text().strip()
    return Path(f"/sys/fs/cgroup{path}/{v2}").read_text().strip()


def says_up(node: Daemon, app: str) -> bool:
    return "up" in node.cli("logs", app).out


def test_stopping_is_graceful_and_has_an_end(node: Daemon) -> None:
    gentle = "trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.1; done"
    node.cli("app", "deploy", "--image", "busybox:1", "--name", "gentle", "--", "sh", "-c", gentle)
    stubborn = "trap '' TERM; echo up; while true; do sleep 0.1; done"
    node.cli("app", "deploy", "--image", "busybox:1", "--name", "stubborn", "--stop-grace-period", "300ms", "--",
             "sh", "-c", stubborn)  # fmt: skip
    for name in ("gentle", "stubborn"):
        eventually(partial(says_up, node, name), f"{name} up")
    node.cli("stop", "gentle", "stubborn")
    assert node.cli("logs", "--no-prefix", "gentle").out == "up\nbye\n"
    codes = {a.app: a.exit_code for a in node.client.allocations.list()}
    assert codes == {"gentle": 0, "stubborn": 137}
