"""Apps through the public client, a real server and the real state."""

from __future__ import annotations

import pytest

from hivemind.client import Hivemind
from hivemind.errors import Conflict, Invalid, NotFound, Stale
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.network import Port
from hivemind.model.project import ProjectManifest
from hivemind.model.template import Resources
from tests.unit.api.conftest import Running


def manifest(name: str = "web", replicas: int = 2, **spec: object) -> AppManifest:
    return AppManifest(name=name, replicas=replicas, spec=AppSpec(image="nginx:1", **spec))  # type: ignore[arg-type]


def test_deploys_shows_scales_and_removes(running: Running) -> None:
    hive = running.local
    made = hive.apps.deploy(manifest(ports=(Port(container=80, host=8080),)))
    assert (made.name, made.replicas, made.status.phase, made.status.ports) == (
        "web",
        2,
        "deploying",
        ("8080->80/tcp",),
    )
    allocations = hive.allocations.list(app="web")
    assert [a.name for a in allocations] == ["web.0", "web.1"][: len(allocations)]
    for allocation in allocations:
        running.do(running.backend.run, allocation.id)
    seen = hive.apps.get("web")
    assert seen.status.ready == len(allocations) > 0
    assert hive.deployments.get(seen.status.deployment[:8]).app == "web"
    assert hive.apps.scale("web", 5).replicas == 5
    assert hive.apps.stop("web").status.phase == "stopped"
    assert hive.apps.start("web").status.desired == 5
    assert hive.apps.restart("web").status.revision == 3
    hive.apps.delete("web")
    with pytest.raises(NotFound, match="no app 'web'"):
        hive.apps.get("web")


def test_a_write_matches_the_version_that_was_read(running: Running) -> None:
    hive = running.local
    first = hive.apps.deploy(manifest())
    second = hive.apps.deploy(manifest(replicas=3), if_version=first.version)
    assert second.version > first.version
    with pytest.raises(Stale) as refused:
        hive.apps.deploy(manifest(replicas=4), if_version=first.version)
    assert refused.value.hint
    with pytest.raises(Stale):
        hive.apps.delete("web", if_version=first.version)
    assert hive.apps.get("web").replicas == 3


def test_create_refuses_a_taken_name(running: Running) -> None:
    hive = running.local
    hive.apps.create(manifest())
    with pytest.raises(Conflict, match="already"):
        hive.apps.create(manifest(replicas=7))
    assert hive.projects.create(ProjectManifest(name="shop")).version == 1
    with pytest.raises(Conflict, match="already a project 'shop'"):
        hive.projects.create(ProjectManifest(name="shop"))


def test_a_dry_run_tells_and_changes_nothing(running: Running) -> None:
    hive = running.local
    steps = hive.apps.plan(manifest())
    assert any(step.action == "start" and step.node == "node-1" for step in steps)
    assert hive.apps.list() == []
    hive.apps.deploy(manifest())
    assert hive.apps.plan_delete("web")
    assert [a.name for a in hive.apps.list()] == ["web"]


def test_pages_cover_everything_once(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    hive = running.local
    names = [f"app-{n:02}" for n in range(25)]
    for name in names:
        hive.apps.deploy(AppManifest(name=name, replicas=0, labels={"n": name[-1]}, spec=AppSpec(image="x")))
    monkeypatch.setattr("hivemind.client.collection._PAGE", 4)
    assert [a.name for a in hive.apps.list()] == names
    assert [a.name for a in hive.apps.list(project=None)] == names
    assert [a.name for a in hive.apps.list(labels=["n=3"])] == ["app-03", "app-13", "app-23"]
    assert [a.name for a in hive.apps.list(labels=["n"], limit=6)] == names[:6]
    assert hive.apps.list(labels=["other"]) == []


def test_a_project_that_is_not_there(running: Running) -> None:
    with pytest.raises(NotFound, match="no project 'shop'"):
        running.local.apps.list("shop")
    with pytest.raises(NotFound, match="no project 'shop'"):
        running.local.apps.deploy(manifest(), "shop")


def test_a_spec_that_makes_no_sense(running: Running) -> None:
    with pytest.raises(Invalid, match="same host port"):
        running.local.apps.deploy(manifest(ports=(Port(container=1, host=5), Port(container=2, host=5))))


def test_what_cannot_be_placed_says_why(running: Running) -> None:
    app = running.local.apps.deploy(manifest(resources=Resources(memory=2**50)))
    assert app.status.phase == "pending"
    assert "memory" in app.status.message


def test_nodes(running: Running) -> None:
    hive = running.local
    hive.apps.deploy(manifest(resources=Resources(memory=2**20, cpus=0.5)))
    [node] = hive.nodes.list()
    assert node.allocations and node.memory_reserved == node.allocations * 2**20
    assert hive.nodes.cordon("node-1").schedulable is False
    assert hive.nodes.uncordon(node.id[:6]).schedulable is True
    assert (node.role, node.votes, node.shown) == ("member", False, "ready")
    drained = hive.nodes.drain("node-1", deadline=60.0)
    assert drained.drained is True and drained.shown in ("draining", "drained")
    assert drained.deadline > drained.joined
    assert hive.nodes.drain("node-1", force=True).deadline == 0
    with pytest.raises(Conflict, match="alone"):
        hive.nodes.remove("node-1")
    with pytest.raises(NotFound):
        hive.nodes.cordon("nobody")


def test_a_repeated_wish_is_done_once(running: Running) -> None:
    connection = Hivemind(f"unix://{running.settings.socket}")._connection
    running.local.apps.deploy(manifest())
    for _ in range(2):
        connection.call(
            "POST", "/v1/projects/default/apps/web/restart", headers={"Idempotency-Key": "once"}, body=b"{}"
        )
    connection.close()
    assert running.local.apps.get("web").status.revision == 2


def test_an_id_may_be_shortened_if_it_is_unambiguous(running: Running) -> None:
    hive = running.local
    hive.apps.deploy(manifest())
    allocation = hive.allocations.list()[0]
    assert hive.allocations.get(allocation.id[:8]).id == allocation.id
    assert hive.allocations.get(allocation.name).id == allocation.id
    hive.projects.create(ProjectManifest(name="other"))
    with pytest.raises(NotFound, match="in project 'other'"):
        hive.allocations.get(allocation.id, "other")
    with pytest.raises(NotFound):
        hive.allocations.get(allocation.id[:2])
