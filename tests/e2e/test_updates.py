"""Changing what runs: nobody who uses it may notice, and a bad change must end by itself."""

from __future__ import annotations

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually
from tests.e2e.load import Load

pytestmark = pytest.mark.real

WEB = (
    "--image", "web:1", "--service", "web.local", "--port", "8080:8080",
    "--health-http", "8080/", "--replicas", "3", "--update-min-healthy", "200ms",
)  # fmt: skip


def pages(version: int) -> set[str]:
    return {f"<!doctype html><p>Hello from web-app-{slot}, version {version}</p>\n" for slot in range(3)}


def test_a_rolling_update_loses_no_request(node: Daemon) -> None:
    node.cli("app", "deploy", "--name", "web-app", *WEB)
    with Load(node, 8080) as load:
        eventually(lambda: load.answers.keys() == pages(1), "an answer of each old replica")
        node.cli("app", "deploy", "--name", "web-app", *WEB, "--env", "VERSION=2")
        eventually(lambda: load.answers.keys() == pages(1) | pages(2), "an answer of each new replica")
        node.cli("app", "scale", "web-app", "--replicas", "1")
        node.cli("app", "scale", "web-app", "--replicas", "3")
        node.cli("app", "restart", "web-app")
    assert load.failures == [], f"of {sum(load.answers.values())}"
    assert all(a.revision == 3 for a in node.ready("web-app", 3))
    assert node.app("web-app").status.phase == "running"


@pytest.mark.parametrize(
    ("change", "why", "recorded"),
    [
        # The registry cannot be reached from here, which may pass, so only the deadline ends it.
        (
            ("--image", "no-such-image:1", "--update-deadline", "3s"),
            "cannot be reached",
            "not healthy after 3s: registry-1.docker.io cannot be reached",
        ),
        (("--entrypoint", "no-such-program"), "no-such-program", "no-such-program"),
        (("--entrypoint", "sh -c 'echo last words; exit 3'"), "last words", "exit code 3"),
        (
            ("--health-http", "8080/missing", "--health-interval", "100ms", "--update-deadline", "3s"),
            "404",
            "404",
        ),
        (("--memory", "100TiB", "--update-deadline", "2s"), "memory", "memory"),
    ],
    ids=["unknown image", "unknown program", "crashes", "unhealthy", "no room"],
)
def test_a_bad_revision_ends_by_itself(
    node: Daemon, change: tuple[str, ...], why: str, recorded: str
) -> None:
    node.cli("app", "deploy", "--name", "web-app", *WEB)
    before = {a.id for a in node.ready("web-app", 3)}
    with Load(node, 8080) as load:
        said = node.cli("app", "deploy", "--name", "web-app", *change, code=1)
        eventually(lambda: {a.id for a in node.replicas("web-app")} == before, "only the old replicas")
    assert load.failures == [], f"of {sum(load.answers.values())}"
    assert load.answers.keys() <= pages(1)
    assert why in said.err and "keep running" in said.err and "hint:" in said.err, said.err
    app = node.app("web-app")
    assert (app.status.ready, app.status.revision) == (3, 1)
    assert app.status.phase == "degraded" and recorded in app.status.message, "not what was wished"
    (failed,) = [d for d in node.client.deployments.list(app="web-app") if d.state == "failed"]
    assert recorded in failed.reason
    assert recorded in node.cli("describe", "app", "web-app").out
    assert node.resolve("web.local") == {a.status.ip for a in node.replicas("web-app")}

    # The next good one goes through.
    node.cli("app", "deploy", "--name", "web-app", *WEB, "--env", "VERSION=2")
    assert all(a.revision == 3 for a in node.ready("web-app", 3))
    assert node.app("web-app").status.phase == "running"


def test_stop_first_never_has_one_too_many(node: Daemon) -> None:
    node.cli("app", "deploy", "--name", "one-by-one", *WEB, "--update-order", "stop-first")
    node.cli("app", "deploy", "--name", "one-by-one", "--env", "VERSION=2")
    node.ready("one-by-one", 3)
    ends = {"allocation.started": 1, "allocation.exited": -1}
    running = highest = 0
    for event in node.client.events(app="one-by-one"):
        running += ends.get(event.type, 0)
        highest = max(highest, running)
    assert highest == 3


def test_apply_a_file_twice_and_another(node: Daemon, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("apps") / "app.yaml"
    text = """
    kind: App
    name: web-app
    replicas: 2
    spec:
      image: web:1
      service: web.local
      ports: [{container: 8080, host: 8080}]
      check: {probe: {kind: http, path: /}}
      resources: {memory: 64MiB, cpus: 250m}
    """
    path.write_text(text)
    node.cli("apply", "-f", str(path))
    node.cli("apply", "-f", str(path))
    assert node.app("web-app").status.revision == 1
    path.write_text(text.replace("64MiB", "65MiB"))
    assert "web-app" in node.cli("apply", "-f", str(path), "--dry-run").out
    assert node.app("web-app").status.revision == 1
    node.cli("apply", "-f", str(path))
    assert [a.revision for a in node.ready("web-app", 2)] == [2, 2]
    node.cli("delete", "-f", str(path))
    assert node.client.apps.list() == []
