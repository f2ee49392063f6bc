"""An app from its deployment to its removal, by the commands that a person types."""

from __future__ import annotations

import json
import os
import pty
import re
import signal

import pytest
import yaml

from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually

pytestmark = pytest.mark.real

IDLE = ("--image", "busybox:1", "--stop-signal", "SIGKILL")
"""The first process of a container ignores SIGTERM unless it has a handler, and tests need not wait for that."""
WEB = ("--image", "web:1", "--name", "web-app", "--service", "web.local", "--port", "8080:8080")


def test_deploy_reach_scale_stop_start_remove(node: Daemon) -> None:
    said = node.cli("app", "deploy", *WEB, "--health-http", "8080/")
    assert "web-app deployed" in said.out and "8080" in said.out
    assert "version 1" in node.fetch("http://127.0.0.1:8080/")
    address = node.replica("web-app").status.ip
    assert node.resolve("web.local") == {address}
    assert node.resolve("web-app.default.hive") == {address}

    node.cli("app", "scale", "--name", "web-app", "--replicas", "10")
    replicas = node.ready("web-app", 10)
    assert node.resolve("web.local") == {a.status.ip for a in replicas}
    everyone = {f"web-app-{slot}" for slot in range(10)}
    seen: set[str] = set()

    def all_answered() -> bool:
        seen.add(hostname(node.fetch("http://127.0.0.1:8080/")))
        return seen == everyone

    eventually(all_answered, "an answer of each replica")

    node.cli("app", "scale", "--name", "web-app", "--replicas", "2")
    replicas = node.ready("web-app", 2)
    assert node.resolve("web.local") == {a.status.ip for a in replicas}
    node.traces.must_be_clean()

    before = {a.id for a in replicas}
    node.cli("app", "restart", "web-app")
    assert before.isdisjoint(a.id for a in node.ready("web-app", 2))

    node.cli("app", "stop", "web-app")
    assert node.replicas("web-app") == []
    assert "stopped" in node.cli("app", "ls").out
    with pytest.raises(OSError):
        node.fetch("http://127.0.0.1:8080/")
    assert node.resolve("web.local") == set()
    node.traces.must_be_clean()

    node.cli("app", "start", "web-app")
    assert "Hello" in node.fetch("http://127.0.0.1:8080/")
    node.cli("app", "rm", "web-app")
    assert node.cli("ps", "-a", "-q").out == ""
    node.cli("app", "info", "web-app", code=4)
    node.traces.must_be_clean()


def test_what_there_is_to_see(node: Daemon) -> None:
    node.cli("app", "deploy", *WEB, "--health-http", "8080/", "--replicas", "2", "--memory", "64MiB")
    for words in (("app", "info", "web-app"), ("describe", "app", "web-app")):
        shown = node.cli(*words).out
        for part in ("2/2 ready", "web.local", "8080:8080/tcp", "64MiB", "web-app.1", "allocation.started"):
            assert part in shown
    assert re.search(r"web-app +2/2 +running +web:1 +web\.local +8080->8080/tcp", node.cli("app", "ls").out)
    assert re.search(r"web-app\.0 +web:1 +Up .*\(healthy\)", node.cli("ps").out)
    assert "web:1" in node.cli("images").out
    assert "Up" in node.cli("ps", "-o", "wide").out and "10." in node.cli("ps", "-o", "wide").out

    as_json = json.loads(node.cli("get", "app", "web-app", "-o", "json").out)
    as_yaml = yaml.safe_load(node.cli("get", "app", "web-app", "-o", "yaml").out)
    assert as_json["name"] == "web-app" and as_json["status"]["ready"] == 2
    assert as_yaml["spec"] == as_json["spec"]
    assert node.cli("get", "apps", "-o", "name").out.split() == ["app/web-app"]
    assert "MESSAGE" in node.cli("get", "allocations", "--app", "web-app", "-o", "wide").out
    assert "replicas:  2" in node.cli("status").out
    assert "web-app" in node.cli("stats", "--no-stream").out

    # What `get` shows, `apply` takes: nothing changes by it.
    document = node.cli("get", "app", "web-app", "-o", "yaml").out
    node.cli("apply", "-f", "-", stdin=document)
    assert node.app("web-app").status.revision == 1


def test_a_container_finds_others_by_name(node: Daemon) -> None:
    node.cli("app", "deploy", *WEB, "--health-http", "8080/", "--replicas", "2")
    node.cli("app", "deploy", *IDLE, "--name", "client", "--command", "sleep 1000")
    for url in ("http://web.local:8080/", "http://web-app:8080/", "http://web-app.default.hive:8080/"):
        assert "Hello from web-app-" in node.cli("exec", "client", "wget", "-q", "-O", "-", url).out
    services = node.resolve("_8080._tcp.web-app.default.hive", "SRV")
    assert len(services) == 2 and all(" 8080 " in service for service in services)


def test_logs(node: Daemon) -> None:
    script = "n=0; while true; do n=$((n+1)); echo line $n; echo word $n >&2; sleep 0.2; done"
    node.cli("app", "deploy", *IDLE, "--name", "chatty", "--replicas", "2", "--", "sh", "-c", script)
    eventually(lambda: node.cli("logs", "chatty").out.count("line 5") == 2, "five lines of both")
    assert {line.split(" | ")[0] for line in node.cli("logs", "chatty").out.splitlines()} == {
        "chatty.0",
        "chatty.1",
    }
    one = node.cli("logs", "chatty.1")
    assert one.out.startswith("line 1\nline 2\n") and "word 1" in one.err
    assert len(node.cli("logs", "--tail", "3", "chatty").out.splitlines()) == 3
    stamped = node.cli("logs", "--timestamps", "--tail", "1", "chatty.0")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (line|word) ", stamped.out + stamped.err)
    assert node.cli("logs", "--since", "2100-01-01T00:00:00Z", "chatty").out == ""
    assert "line 1\n" in node.cli("logs", "--since", "10m", "chatty.0").out

    following = node.begin("logs", "-f", "--tail", "1", "chatty.0")
    assert following.stdout
    numbers: list[int] = []
    while len(numbers) < 6:
        line = following.stdout.readline().decode()
        assert line, "the log ended"
        if line.startswith("line"):
            numbers.append(int(line.split()[1]))
    following.send_signal(signal.SIGINT)
    assert following.wait(30) == 130
    following.stdout.close()
    assert numbers == list(range(numbers[0], numbers[0] + 6))


def test_following_the_log_ends_with_the_app(node: Daemon) -> None:
    node.cli("app", "deploy", *IDLE, "--name", "brief", "--", "sh", "-c", "echo here; sleep 1000")
    following = node.begin("logs", "-f", "brief")
    assert following.stdout and following.stdout.readline() == b"brief.0 | here\n"
    node.cli("app", "rm", "brief")
    assert following.wait(30) == 0
    following.stdout.close()


def test_exec(node: Daemon) -> None:
    node.cli("app", "deploy", *IDLE, "--name", "box", "--env", "FROM=spec", "--", "sleep", "1000")
    assert node.cli("exec", "box", "sh", "-c", "echo out; echo err >&2; exit 7", code=7) == (
        7,
        "out\n",
        "err\n",
    )
    assert node.cli("exec", "-i", "box", "wc", "-c", stdin="x" * 300_000).out.strip() == "300000"
    assert node.cli("exec", "-e", "MORE=1", "box", "sh", "-c", "echo $FROM $MORE").out == "spec 1\n"
    assert node.cli("exec", "-u", "33", "-w", "/tmp", "box", "sh", "-c", "id -u; pwd").out == "33\n/tmp\n"
    assert node.cli("exec", "box", "hostname").out == "box-0\n"
    assert "no-such-program" in node.cli("exec", "box", "no-such-program", code=127).err
    assert "error:" in node.cli("exec", "nobody", "true", code=4).err


def test_exec_with_a_terminal(node: Daemon) -> None:
    node.cli("app", "deploy", *IDLE, "--name", "box", "--", "sleep", "1000")
    ours, theirs = pty.openpty()
    os.set_blocking(ours, True)
    shell = node.begin(
        "exec", "-it", "box", "sh", stdin=os.fdopen(theirs, "rb", closefd=False), stdout=theirs
    )
    os.close(theirs)
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            try:
                seen += os.read(ours, 4096)
            except OSError:
                raise AssertionError(f"the terminal was closed after {seen!r}") from None
        seen = seen.partition(text)[2]

    until(b"# ")
    os.write(ours, b"tty; echo $((6*7)) done\n")
    until(b"/dev/pts/")
    until(b"42 done")
    os.write(ours, b"echo as''leep; sleep 1000\n")
    until(b"asleep")
    os.write(ours, b"\x03")  # Ctrl-C goes to what runs inside, not to us
    until(b"# ")
    os.write(ours, b"exit 5\n")
    assert shell.wait(30) == 5
    os.close(ours)


@pytest.mark.parametrize(("image", "port", "check"), [("nginx", 80, "80/"), ("redis", 6379, "")])
def test_real_servers(node: Daemon, image: str, port: int, check: str) -> None:
    health = ("--health-http", check) if check else ("--health-cmd", "redis-cli ping")
    node.cli(
        "app", "deploy", "--image", f"{image}:1", "--name", image, "--port", f"18080:{port}", "--replicas", "2",
        "--health-interval", "1s", *health,
    )  # fmt: skip
    if image == "nginx":
        assert "Hello from nginx" in node.fetch("http://127.0.0.1:18080/")
    else:
        assert (
            node.cli("exec", "redis.0", "redis-cli", "-h", "redis.default.hive", "set", "k", "v").out
            == "OK\n"
        )
    node.cli("app", "rm", image)


def hostname(page: str) -> str:
    found = re.search(r"Hello from (\S+),", page)
    assert found, page
    return found[1]


def test_dry_run_changes_nothing(node: Daemon) -> None:
    planned = node.cli("app", "deploy", *WEB, "--replicas", "2", "--dry-run").out
    assert "web-app" in planned and "node-1" in planned
    assert node.client.apps.list() == []
    node.cli("app", "deploy", *WEB)
    assert "web-app" in node.cli("app", "deploy", "--name", "web-app", "--env", "VERSION=2", "--dry-run").out
    assert node.app("web-app").status.revision == 1
