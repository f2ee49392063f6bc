"""A node whose containers run on a docker engine: the same life as on any other runtime."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from docker_engine import DockerEngine, engine
from tests.e2e import leftovers
from tests.e2e.conftest import Hatch
from tests.e2e.daemon import Daemon, alive
from tests.e2e.eventually import eventually
from tests.e2e.load import Load
from tests.e2e.pod import shares_and_heals

pytestmark = pytest.mark.real

WEB = (
    "--image", "web:1", "--name", "web-app", "--service", "web.local", "--port", "8080:8080",
    "--health-http", "8080/", "--health-interval", "200ms", "--update-min-healthy", "200ms", "--replicas", "2",
)  # fmt: skip
BOX = ("--image", "busybox:1", "--name", "box", "--stop-grace-period", "100ms")


@pytest.fixture(scope="module")
def docker(hatch: Hatch) -> Iterator[tuple[Daemon, DockerEngine]]:
    daemon = hatch("--runtime", "docker")
    with engine(str(leftovers.NAMESPACES / leftovers.netns_of(daemon.home))) as running:
        daemon.options += ("--docker-socket", running.socket)
        leftovers.rely_on(daemon.home, running.home)
        daemon.start()
        daemon.load("busybox", "web")
        yield daemon, running
        try:
            leftovers.rely_on(daemon.home, None)  # it must clear away itself
            daemon.kill()
            daemon.client.close()
            leftovers.clear(daemon.home)
        except BaseException:
            leftovers.rely_on(daemon.home, running.home)
            raise
        assert containers(running) == []
        assert "hivemind" not in str(running.ask("GET", "/networks")) + str(
            running.ask("GET", "/images/json")
        )


def containers(running: DockerEngine) -> list[str]:
    return [name for found in running.ask("GET", "/containers/json?all=1") for name in found["Names"]]


def pages(version: int, replicas: int) -> set[str]:
    return {
        f"<!doctype html><p>Hello from web-app-{slot}, version {version}</p>\n" for slot in range(replicas)
    }


def test_an_apps_life(docker: tuple[Daemon, DockerEngine]) -> None:
    node, running = docker
    node.cli("app", "deploy", *WEB)
    node.cli("app", "deploy", *BOX, "--", "sh", "-c", "echo up; exec sleep 1000")
    assert len(containers(running)) == 3
    assert {a.status.runtime for a in node.replicas("web-app")} == {"docker"}

    # names between apps, and what a command inside says
    addresses = {a.status.ip for a in node.replicas("web-app")}
    assert node.resolve("web.local") == addresses
    found = node.cli("exec", "box", "nslookup", "web-app.default.hive").out
    assert all(address in found for address in addresses)
    assert node.cli("exec", "box", "hostname").out == "box-0\n"
    assert node.cli("exec", "box", "sh", "-c", "exit 4", code=4).out == ""
    assert node.cli("logs", "box").out.strip().endswith("up")

    with Load(node, 8080) as load:
        eventually(lambda: load.answers.keys() == pages(1, 2), "an answer of each replica")
        node.cli("app", "scale", "web-app", "--replicas", "3")
        node.cli("app", "deploy", *WEB, "--replicas", "3", "--env", "VERSION=2")
        eventually(lambda: pages(2, 3) <= load.answers.keys(), "an answer of each new replica")
    assert load.failures == [], f"of {sum(load.answers.values())}"

    # nobody runs but what the hive wants, also when the daemon was not there to see it
    before = {a.status.pid for a in node.ready("web-app", 3)}
    box = node.replica("box").status.pid
    node.kill()
    assert all(alive(pid) for pid in (*before, box))
    box_id = next(
        found["Id"] for found in running.ask("GET", "/containers/json") if "sleep" in found["Command"]
    )
    running.ask("POST", f"/containers/{box_id}/kill")
    node.start()
    assert {a.status.pid for a in node.ready("web-app", 3)} == before
    eventually(lambda: node.replica("box").status.restarts == 1, "the box started again")
    assert node.fetch("http://127.0.0.1:8080/") in pages(2, 3)

    node.cli("app", "rm", "web-app")
    node.cli("app", "rm", "box")
    eventually(lambda: containers(running) == [], "nothing left")
    eventually(lambda: not list((node.data / "network/engine-attachments").iterdir()), "no address given")
    assert not list((node.data / "docker/containers").iterdir())


def test_companions(docker: tuple[Daemon, DockerEngine]) -> None:
    node, running = docker
    shares_and_heals(node)
    eventually(lambda: containers(running) == [], "nothing left")
