"""What people are told of each batch: in the order of cause, and by whom."""

from __future__ import annotations

from typing import Any

from hive import ADMIN, Hive
from hivemind.daemon.herald import Herald
from hivemind.ledger.contract import Batch
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.content import Piece
from hivemind.model.principal import Principal, Role
from hivemind.security.envelope import Envelope
from hivemind.state.operations import (
    AccuseNode,
    DeleteApp,
    DeployApp,
    DrainNode,
    FoundHive,
    LeaveHive,
    Operation,
    PauseApp,
    PutContent,
    RegisterNode,
    RegisterPrincipal,
    ResumeApp,
    RevokePrincipal,
    ScaleApp,
    StopApp,
)

ANN = "a1" * 32


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def append(self, type: str, message: str = "", *, by: str = "", **more: Any) -> None:
        self.events.append((type, by, message))


class Scene:
    """A hive whose batches a herald tells, each operation a batch."""

    def __init__(self) -> None:
        self.hive = Hive()
        self.told = Told()
        self.herald = Herald(self.hive.state, self.told)  # type: ignore[arg-type]
        ann = Principal(id=ANN, name="ann", kind="person", role=Role.ADMIN)
        self.hive.do(RegisterPrincipal(principal=ann))

    def do(self, operation: Operation, by: str = ANN, *, refused: bool = False) -> list[tuple[str, str, str]]:
        """What is told of it."""
        self.hive.do(operation, by=by, refused=refused, nonce=f"n{self.hive.count}")
        envelope = Envelope(hive="", signer=by, nonce=f"n{self.hive.count - 1}", payload=b"")
        state = self.hive.state
        self.herald.agreed(
            Batch(sequence=state.sequence, previous=b"", time=state.time, envelopes=(envelope,))
        )
        events, self.told.events = self.told.events, []
        return events

    def deploy(self, replicas: int = 1) -> list[tuple[str, str, str]]:
        manifest = AppManifest(name="web", replicas=replicas, spec=AppSpec(image="web:1"))
        return self.do(DeployApp(project="default", manifest=manifest))


def test_an_app_is_created_before_it_is_deployed_and_both_by_somebody() -> None:
    assert Scene().deploy() == [
        ("app.created", "ann", "1 replica wanted"),
        ("app.deploying", "ann", "revision 1"),
    ]


def test_what_ends_a_deployment_from_outside_supersedes_it() -> None:
    scene = Scene()
    scene.deploy()
    assert scene.do(StopApp(project="default", name="web"), by=ADMIN) == [
        ("app.stopped", "admin", ""),
        ("app.deployment-superseded", "admin", "revision 1: the app was stopped"),
    ]
    scene = Scene()
    scene.deploy()
    told = scene.do(DeleteApp(project="default", name="web"))
    assert [type for type, _, _ in told] == ["app.deleted", "app.deployment-superseded"]


def test_nodes_and_principals_are_told_by_whom_and_refusals_not_at_all() -> None:
    scene = Scene()
    assert scene.do(DrainNode(name="node-0")) == [("node.drained", "ann", "")]
    bob = Principal(id="b2" * 32, name="bob", kind="person", role=Role.OPERATOR)
    assert scene.do(RegisterPrincipal(principal=bob)) == [("principal.admitted", "ann", "as operator")]
    assert scene.do(RevokePrincipal(name="bob")) == [("principal.revoked", "ann", "as operator")]
    assert scene.do(ScaleApp(project="default", name="nope", replicas=2), refused=True) == []
    assert scene.do(RevokePrincipal(name="ann")) == [("principal.revoked", "", "as admin")]


def test_a_wait_for_room_is_told_but_not_the_end_of_the_wait() -> None:
    scene = Scene()
    scene.do(DrainNode(name="node-0"))
    assert ("allocation.unplaced", "", "0 of 1 node fit: 1 is drained") in scene.deploy()
    told = scene.do(ScaleApp(project="default", name="web", replicas=0))
    assert [type for type, _, _ in told] == ["app.scaled", "app.deployment-succeeded"]


def test_contents_and_pauses_are_told_without_what_they_hold() -> None:
    scene = Scene()
    secret = {"kind": "secret", "project": "default", "name": "db"}
    put = PutContent(**secret, data={"password": Piece(value=b"hunter2", digest="d1")})
    assert scene.do(put) == [("secret.created", "ann", "number 1")]
    assert scene.do(put) == []
    other = PutContent(**secret, data={"password": Piece(value=b"hunter3", digest="d2")})
    assert scene.do(other) == [("secret.changed", "ann", "number 2")]
    manifest = AppManifest(name="web", spec=AppSpec(image="web:1"))
    scene.do(DeployApp(project="default", manifest=manifest))
    assert scene.do(PauseApp(project="default", name="web")) == [("app.paused", "ann", "")]
    assert scene.do(ResumeApp(project="default", name="web")) == [("app.resumed", "ann", "")]


def test_what_becomes_of_a_node() -> None:
    scene = Scene()
    scene.hive.do(FoundHive(name="bees", node="node-0"))
    assert scene.do(RegisterPrincipal(principal=Principal(id="n1", name="n1", kind="node"))) == []
    facts = {"id": "n1", "name": "n1", "cpus": 2.0, "memory": 2**30}
    assert scene.do(RegisterNode(**facts, incarnation=1), by="n1") == [("node.joined", "", "2 cores")]
    lost = AccuseNode(node="n1", incarnation=1)
    assert scene.do(lost, by="node-0") == [("node.lost", "", "what ran there is begun elsewhere")]
    assert scene.do(RegisterNode(**facts, incarnation=2), by="n1") == [("node.returned", "", "")]
    scene.do(AccuseNode(node="n1", incarnation=2), by="node-0")
    [(returned, _, held)] = scene.do(RegisterNode(**facts, incarnation=3), by="n1")
    assert (returned, held) == ("node.returned", "it is given nothing new for a while")
    told = scene.do(LeaveHive(node="n1"))
    assert [type for type, *_ in told] == ["node.leaving", "node.left"]
