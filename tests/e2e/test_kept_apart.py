"""Isolation as a person asks for it: options, permissions, the node's network, after a daemon's sudden death."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon

pytestmark = pytest.mark.real

RUN = ("run", "--rm")


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_users_of_its_own_outlive_the_daemon(node: Daemon) -> None:
    node.cli("app", "deploy", "--image", "web:1", "--name", "web-app", "--replicas", "3", "--health-http", "8080/",
             "--port", "8080:8080")  # fmt: skip
    before = {a.id: a.status.pid for a in node.ready("web-app", 3)}
    users = [owner(pid) for pid in before.values()]
    assert len(set(users)) == 3 and min(users) > 2**30, "each is somebody else, and nobody of this machine"
    assert "problems" not in node.cli("status").out
    node.kill()
    node.start()
    assert {a.id: a.status.pid for a in node.ready("web-app", 3)} == before
    assert node.cli("exec", "web-app", "id", "-u").out == "0\n"
    node.cli("app", "scale", "--name", "web-app", "--replicas", "5")
    pids = [a.status.pid for a in node.ready("web-app", 5)]
    assert len({owner(pid) for pid in pids}) == 5


def test_what_is_dangerous_needs_a_permission(node: Daemon) -> None:
    said = node.cli(*RUN, "--privileged", "busybox:1", "true", code=3)
    assert "hivemind project allow default privileged" in said.err
    manifest = 'kind: App\nname: sneaky\nspec: {image: "busybox:1", mounts: [{kind: bind, source: /, target: /host}]}\n'
    said = node.cli("apply", "-f", "-", stdin=manifest, code=3)
    assert "project allow default bind" in said.err
    node.cli("project", "allow", "default", "privileged", "devices")
    assert "devices,privileged" in node.cli("project", "ls").out
    try:
        script = "grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp && echo mounted"
        assert node.cli(*RUN, "--privileged", "busybox:1", "sh", "-c", script).out == "Seccomp:\t0\nmounted\n"
        said = node.cli(*RUN, "--device", "/dev/nothing", "busybox:1", "true", code=1)
        assert "no device /dev/nothing" in said.err
    finally:
        node.cli("project", "deny", "default", "privileged", "devices")
    node.cli(*RUN, "--privileged", "busybox:1", "true", code=3)


def test_options_that_need_none(node: Daemon) -> None:
    options = ("--read-only", "--tmpfs", "/run:mode=0700", "--init", "--ulimit", "nofile=64", "--hostname", "box",
               "--sysctl", "net.core.somaxconn=99", "--add-host", "gw:host-gateway", "--dns", "9.9.9.9")  # fmt: skip
    script = """
    (touch /x) 2>/dev/null || echo kept
    stat -c %a /run; cat /proc/1/comm; ulimit -n; hostname; cat /proc/sys/net/core/somaxconn
    grep -c gw /etc/hosts; cat /etc/resolv.conf | head -1
    """
    said = node.cli(*RUN, *options, "busybox:1", "sh", "-c", script).out.split("\n")
    assert said[:2] + said[3:-1] == ["kept", "700", "64", "box", "99", "1", "nameserver 9.9.9.9"]
    assert said[2] in ("init", "tini", "tini-static", "catatonit")
    said = node.cli(
        "app", "deploy", "--image", "busybox:1", "--name", "smart", "--gpus", "1", "--timeout", "5", code=8
    )
    assert "lacks 1 GPU" in said.err


def test_the_nodes_own_network(node: Daemon) -> None:
    node.cli("project", "allow", "default", "host-network")
    try:
        node.cli("app", "deploy", "--image", "web:1", "--name", "web-app", "--port", "8080:8080", "--service",
                 "web.local", "--health-http", "8080/")  # fmt: skip
        node.cli("app", "deploy", "--name", "web-app", "--network", "host", "--port", "8080")
        (replica,) = node.ready("web-app", 1)
        assert node.resolve("web.local") == {replica.status.ip}
        assert "version 1" in node.fetch("http://127.0.0.1:8080/")
        assert "version 1" in node.fetch(f"http://{replica.status.ip}:8080/")
        script = "wget -qO- http://web.local:8080/"
        assert "version 1" in node.cli(*RUN, "busybox:1", "sh", "-c", script).out, (
            "containers reach it by its name"
        )
        node.cli("app", "deploy", "--name", "web-app", "--env", "NEW=1")
        assert "version 1" in node.fetch("http://127.0.0.1:8080/")
        node.cli("app", "deploy", "--name", "web-app", "--network", "default", "--port", "8080:8080")
        assert node.replica("web-app").status.ip != replica.status.ip
        assert "version 1" in node.fetch("http://127.0.0.1:8080/")
    finally:
        node.cli("app", "rm", "web-app")
        node.cli("project", "deny", "default", "host-network")


def test_no_network(node: Daemon) -> None:
    assert node.cli(*RUN, "--network", "none", "busybox:1", "ls", "/sys/class/net").out == "lo\n"
    said = node.cli(
        "app", "deploy", "--image", "web:1", "--name", "x", "--network", "none", "--port", "80", code=2
    )
    assert "no ports" in said.err
