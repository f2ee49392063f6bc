"""Pods in miniature on a real node: what containers of one replica share, in which order they come and go."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind.model.allocation import AllocationDocument, CompanionStatus
from tests.e2e.conftest import Hatch
from tests.e2e.daemon import Daemon, alive
from tests.e2e.eventually import eventually

pytestmark = pytest.mark.real

SHOP = """
kind: App
name: shop
spec:
  image: web:1
  ports: [{container: 8080}]
  check: {probe: {kind: http, path: /}, interval: 300ms}
  update: {min_healthy_time: 0}
  mounts: [{kind: scratch, source: pages, target: /pages}]
  depends_on: {db: healthy, migrate: completed}
  stop: {grace: 2}
  init_containers:
    - name: render
      image: busybox:1
      user: "1000"
      command: [sh, -c, "echo rendered by $(id -u) > /out/page; echo done"]
      mounts: [{kind: scratch, source: pages, target: /out}]
    - name: look
      image: busybox:1
      command: [cat, /in/page]
      mounts: [{kind: scratch, source: pages, target: /in, readonly: true}]
  sidecars:
    - name: peek
      image: busybox:1
      command: [sh, -c, "trap exit TERM; until wget -q -O /dev/null http://127.0.0.1:8080/; do sleep 0.1; done;
        echo it serves; while :; do sleep 0.1; done"]
      mounts: [{kind: scratch, source: pages, target: /shared}]
      stop: {grace: 2}
---
kind: App
name: migrate
spec:
  image: busybox:1
  command: [sh, -c, "sleep 0.5"]
  restart: {policy: on-failure}
  update: {min_healthy_time: 0}
---
kind: App
name: db
spec:
  image: busybox:1
  command: [sh, -c, "trap exit TERM; sleep 1; touch /up; while :; do sleep 0.1; done"]
  readiness: {probe: {kind: command, command: [test, -f, /up]}, interval: 200ms}
  update: {min_healthy_time: 0}
  stop: {grace: 2}
"""


@pytest.fixture(scope="module")
def node(hatch: Hatch) -> Iterator[Daemon]:
    daemon = hatch()
    daemon.start()
    daemon.load("busybox", "web")
    yield daemon
    daemon.destroy()


@pytest.fixture(autouse=True)
def tidy(node: Daemon) -> Iterator[None]:
    yield
    node.remove_apps()


def companion(allocation: AllocationDocument, name: str) -> CompanionStatus:
    return next(c for c in allocation.status.companions if c.name == name)


def test_a_pod_in_miniature_through_kills_and_a_reboot(node: Daemon, tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(SHOP)
    said = node.cli("apply", "-f", str(tmp_path / "shop.yaml"))
    assert [line.split()[0] for line in said.out.splitlines()] == ["app/db", "app/migrate", "app/shop"]
    [shop] = node.ready("shop", 1)

    # One network, one directory, file systems of their own.
    assert node.cli("logs", "-c", "look", "shop.0").out == "rendered by 1000\n"
    eventually(
        lambda: node.cli("logs", "-c", "peek", "shop.0").out == "it serves\n", "the sidecar reached it"
    )
    assert node.cli("exec", "shop", "cat", "/pages/page").out == "rendered by 1000\n"
    assert node.cli("exec", "-c", "peek", "shop.0", "cat", "/shared/page").out == "rendered by 1000\n"
    assert node.cli("exec", "-c", "peek", "shop.0", "test", "-e", "/usr/bin/serve-web", code=1).out == ""
    assert "no container 'nope'" in node.cli("exec", "-c", "nope", "shop.0", "true", code=4).err
    order = [m.split(":")[0] for m in node.events("shop", "allocation.started")]
    assert order == ["render", "look", "peek", "instance 0 runs with pid " + str(shop.status.pid)]

    # People see all of it.
    described = node.cli("describe", "allocation", "shop.0").out
    assert "shop.0/peek" in described and "completed" in described and "passed" in described
    assert all(len(line) <= 80 for line in described.splitlines() if "shop.0/" in line)
    listed = node.cli("ps").out
    assert "shop.0/peek" in listed and "shop.0/look" not in listed
    assert all(len(line) <= 80 for line in listed.splitlines())
    assert "Exited (0)" in node.cli("ps", "-a").out
    found = json.loads(node.cli("get", "allocation", "shop.0", "-o", "json").out)
    assert [c["name"] for c in found["status"]["companions"]] == ["render", "look", "peek"]

    # A daemon that dies finds all of it again.
    pids = {shop.status.pid, companion(shop, "peek").pid}
    node.kill()
    assert all(alive(pid) for pid in pids)
    node.start()
    [shop] = node.ready("shop", 1)
    assert {shop.status.pid, companion(shop, "peek").pid} == pids
    assert companion(shop, "render").restarts == 0

    # A sidecar is restarted on its own.
    os.kill(companion(shop, "peek").pid, signal.SIGKILL)
    eventually(lambda: companion(node.replica("shop"), "peek").restarts == 1, "the sidecar restarted")
    [shop] = node.ready("shop", 1)
    assert (shop.status.pid in pids, shop.status.restarts) == (True, 0)

    # After the power was gone everything comes up in its order, behind what it depends on.
    node.reboot()
    seen: set[str] = set()

    def up() -> bool:
        status = node.replica("shop").status
        seen.add(status.message)
        return status.ready and status.pid not in pids

    eventually(up, "the shop up again")
    assert "waits for app db to be healthy" in seen
    assert companion(node.replica("shop"), "render").restarts == 1
    assert node.cli("exec", "shop", "cat", "/pages/page").out == "rendered by 1000\n"

    # And it goes in the reverse order.
    scratch = node.data / "scratch" / shop.id
    assert scratch.is_dir()
    node.cli("stop", "shop")
    ended = [m.split(":")[0] for m in node.events("shop", "allocation.exited")][-2:]
    assert ended == ["instance 1", "peek"]
    assert not scratch.exists()


def test_a_failing_init_container_is_seen_and_tried_again(node: Daemon) -> None:
    node.cli(
        "app", "deploy", "--detach", "--image", "busybox:1", "--name", "stuck", "--command", "sleep 9999",
        "--init-container", "migrate=busybox:1 sh -c 'echo no database; exit 3'",
    )  # fmt: skip
    eventually(
        lambda: "init 1/1: migrate: exit code 3; back-off" in node.replica("stuck").status.message,
        "the back-off shown",
    )
    assert "no database" in node.cli("logs", "-c", "migrate", "stuck.0").out
    failures = companion(node.replica("stuck"), "migrate").failures
    node.kill()
    node.start()
    assert companion(node.replica("stuck"), "migrate").failures >= failures


def test_a_hung_container_is_told_from_a_slow_one(node: Daemon) -> None:
    node.cli(
        "app", "deploy", "--image", "web:1", "--name", "web", "--port", "8080", "--update-min-healthy", "0s",
        "--stop-grace-period", "1s", "--liveness", "http:8080/,interval=200ms,timeout=1s,retries=2",
        "--pre-stop", "touch /tmp/bye", "--post-start", "sh -c 'echo hi > /tmp/hi'",
    )  # fmt: skip
    [web] = node.ready("web", 1)
    assert node.cli("exec", "web", "cat", "/tmp/hi").out == "hi\n"
    pids = [
        int(line)
        for line in Path(f"/proc/{web.status.pid}/task/{web.status.pid}/children").read_text().split()
    ]
    for pid in (web.status.pid, *pids):
        os.kill(pid, signal.SIGSTOP)
    eventually(lambda: node.replica("web").status.restarts == 1, "the hung container restarted")
    [unhealthy] = node.events("web", "allocation.unhealthy")
    assert "no answer within 1s; its processes are stopped (state T)" in unhealthy
    found = node.client.allocations.checks(web.id)
    assert {"passed", "timeout"} <= {r.outcome for r in found if r.check == "liveness"}
    assert any("did not end within 1s" in m for m in node.events("web", "allocation.killed"))


def test_circles_are_refused_with_the_way_around(node: Daemon) -> None:
    box = ("--image", "busybox:1", "--command", "sleep 9999", "--detach")
    node.cli("app", "deploy", "--name", "one", *box, "--depends-on", "two:healthy")
    assert "waits for app two" in node.cli("get", "app", "one", "-o", "wide").out
    said = node.cli("app", "deploy", "--name", "two", *box, "--depends-on", "one", code=2)
    assert "the apps wait for each other: two -> one -> two" in said.err
