"""Tokens over TCP: let in, in a role, out again; and what each role may do."""

from __future__ import annotations

import pytest

from hivemind.client import Hivemind
from hivemind.errors import Conflict, Forbidden, HivemindError, Invalid, NotFound, Stale, Unauthenticated
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.principal import PrincipalDocument, PrincipalManifest
from hivemind.model.project import ProjectManifest
from hivemind.security.identity import Identity
from tests.unit.api.backend import ADMIN, NODE
from tests.unit.api.conftest import Running

ANN = Identity(b"1" * 32)
BOB = Identity(b"2" * 32)


def admit(hive: Hivemind, who: Identity, name: str, role: str) -> PrincipalDocument:
    return hive.principals.put(PrincipalManifest(name=name, role=role, key=who.public))  # type: ignore[arg-type]


def web(replicas: int = 1) -> AppManifest:
    return AppManifest(name="web", replicas=replicas, spec=AppSpec(image="web:1"))


def refusal(ask: object) -> HivemindError:
    with pytest.raises(HivemindError) as refused:
        ask()  # type: ignore[operator]
    assert refused.value.hint, "every refusal says the next step"
    return refused.value


def test_a_viewer_looks_an_operator_changes_apps_an_administrator_all(running: Running) -> None:
    hive = running.local
    admit(hive, ANN, "ann", "viewer")
    ann = running.remote(ANN)
    assert ann.apps.list() == []
    assert ann.principals.get("ann").role == "viewer"
    denied = refusal(lambda: ann.apps.deploy(web()))
    assert isinstance(denied, Forbidden)
    assert "needs the role operator" in denied.message
    assert "viewer" in denied.message

    assert admit(hive, ANN, "ann", "operator").version == 2
    ann.apps.deploy(web())
    deployment = ann.apps.get("web").status.deployment
    assert ann.deployments.get(deployment).by == "ann"
    for ask in (
        lambda: ann.nodes.drain("node-1"),
        lambda: ann.projects.create(ProjectManifest(name="shop")),
        lambda: admit(ann, BOB, "bob", "viewer"),
        lambda: admit(ann, ANN, "ann", "admin"),
        lambda: ann.principals.delete("ada"),
    ):
        assert isinstance(refusal(ask), Forbidden)

    admit(hive, ANN, "ann", "admin")
    assert ann.nodes.drain("node-1").drained
    assert admit(ann, BOB, "bob", "viewer").name == "bob"


def test_a_revoked_token_is_refused_at_once(running: Running) -> None:
    hive = running.local
    admit(hive, ANN, "ann", "operator")
    ann = running.remote(ANN)
    ann.apps.deploy(web())
    hive.principals.delete("ann")
    denied = refusal(lambda: ann.apps.list())
    assert isinstance(denied, Unauthenticated)
    assert "revoked" in denied.message
    assert "token create" in denied.hint
    assert hive.deployments.list(app="web")[0].by == "ann", "what was done stays theirs"
    with pytest.raises(NotFound):
        hive.principals.get("ann")


def test_a_wrong_or_cut_token_is_refused(running: Running) -> None:
    token = ADMIN.token()
    for bad in (token[:-1], token[:20], token.replace("hm_", "xx_"), "hm_", BOB.token()):
        client = running._client(running.url, token=bad)
        assert isinstance(refusal(lambda c=client: c.status()), Unauthenticated)  # type: ignore[misc]
    assert isinstance(refusal(lambda: running.remote(None).status()), Unauthenticated)


def test_the_collection_knows_versions_pages_and_plans(running: Running) -> None:
    hive = running.local
    made = hive.principals.create(PrincipalManifest(name="ann", role="viewer", key=ANN.public))
    assert (made.kind, made.type, made.key, made.version) == ("Principal", "person", ANN.public, 1)
    with pytest.raises(Conflict, match="already"):
        hive.principals.create(PrincipalManifest(name="ann", role="admin", key=BOB.public))
    with pytest.raises(Conflict, match="another key"):
        admit(hive, BOB, "ann", "viewer")
    with pytest.raises(Stale):
        hive.principals.delete("ann", if_version=7)
    with pytest.raises(Stale):
        hive.principals.put(PrincipalManifest(name="ann", role="admin", key=ANN.public), if_version=7)
    assert hive.principals.get(ANN.public[:8]).name == "ann"
    assert [p.name for p in hive.principals.list(limit=2)] == ["ada", "ann"]
    hive.principals.plan_delete("ann")
    assert hive.principals.get("ann")
    hive.principals.delete("ann", if_version=1)


def test_nodes_are_shown_and_left_alone(running: Running) -> None:
    hive = running.local
    node = next(p for p in hive.principals.list() if p.type == "node")
    assert node.key == NODE.public
    with pytest.raises(Forbidden, match="node"):
        hive.principals.delete(node.name)
    with pytest.raises(Forbidden, match="node"):
        admit(hive, NODE, "ann", "admin")


def test_the_manifest_is_strict(running: Running) -> None:
    hive = running.local
    for bad in (
        PrincipalManifest(name="ann", role="king", key=ANN.public),  # type: ignore[arg-type]
        PrincipalManifest(name="Ann", role="viewer", key=ANN.public),
        PrincipalManifest(name="ann", role="viewer", key=ANN.public.upper()),
        PrincipalManifest(name="ann", role="viewer", key=ANN.public[:-2]),
    ):
        with pytest.raises(Invalid):
            hive.principals.put(bad)


def test_a_revoked_token_loses_what_it_had_open(running: Running) -> None:
    hive = running.local
    admit(hive, ANN, "ann", "operator")
    ann = running.remote(ANN)
    ann.apps.deploy(web())
    [allocation] = hive.allocations.list()
    running.do(running.backend.run, allocation.id)
    shell = ann.allocations.exec(allocation.id, ["sh"], stdin=True)
    assert shell.read() == ("stdout", b"sh\n")
    told = running.remote(ANN).events_follow(after="0")
    running.do(running.backend.happen, 1)
    assert next(told).message == "event 1"
    hive.principals.delete("ann")
    with shell, pytest.raises(Forbidden, match="revoked"):
        shell.read()
    with pytest.raises(Unauthenticated):
        next(told)
    command = running.backend.commands[-1]
    running.run(command.closed.wait())


def test_a_lower_role_loses_what_only_the_higher_may(running: Running) -> None:
    hive = running.local
    admit(hive, ANN, "ann", "operator")
    ann = running.remote(ANN)
    ann.apps.deploy(web())
    [allocation] = hive.allocations.list()
    running.do(running.backend.run, allocation.id)
    shell = ann.allocations.exec(allocation.id, ["sh"], stdin=True)
    assert shell.read() == ("stdout", b"sh\n")
    admit(hive, ANN, "ann", "viewer")
    with shell, pytest.raises(Forbidden, match="may not do this any more"):
        shell.read()
    running.run(running.backend.commands[-1].closed.wait())
    assert len(ann.apps.list()) == 1
