"""What a node brings along when it joins: everything it runs, unchanged, or a list of what clashes."""

from __future__ import annotations

import zlib
from hashlib import blake2b
from typing import Any

import msgspec
import pytest

from grown_hive import ADMIN, GrownHive, key
from hive import Hive
from hivemind.errors import Conflict, Invalid, TooLarge
from hivemind.model.allocation import AllocationState
from hivemind.model.app import AppSpec
from hivemind.model.base import encode
from hivemind.model.content import Piece
from hivemind.model.job import JobManifest, JobSpec
from hivemind.model.mount import VolumeMount
from hivemind.model.network import Port
from hivemind.model.principal import Principal, Role
from hivemind.model.project import ProjectManifest
from hivemind.model.storage import StorageClassManifest
from hivemind.model.template import EnvFrom
from hivemind.model.volume import VolumeManifest
from hivemind.state.adoption import belongings, clashes, pack, unpack
from hivemind.state.operations import (
    AdoptRecords,
    DeleteApp,
    LeaveHive,
    Operation,
    PutContent,
    PutJob,
    PutProject,
    PutStorageClass,
    PutVolume,
    RegisterNode,
    RegisterPrincipal,
    StartRun,
)
from hivemind.state.state import Signed, State


class Small(Hive):
    """The hive of one that a node had before it joined."""

    def __init__(self, name: str = "b") -> None:
        super().__init__(0)
        self.state = State(f"{name}'s own")
        self.admin, self.id = key(f"admin of {name}").public, key(name).public
        person = Principal(id=self.admin, name="admin", kind="person", role=Role.ADMIN)
        self.as_admin(RegisterPrincipal(principal=person))
        self.as_admin(PutProject(manifest=ProjectManifest(name="default", permissions=("processes",))))
        self.as_admin(RegisterPrincipal(principal=Principal(id=self.id, name=name, kind="node")))
        node = RegisterNode(id=self.id, name=name, cpus=4.0, memory=2**33, runtimes=("oci",))
        self.do(node, by=self.id)

    def as_admin(self, operation: Operation) -> None:
        self.do(operation, by=self.admin)

    def do(self, operation: Operation, *, by: str = "", **more: Any) -> Any:
        return super().do(operation, by=by or getattr(self, "admin", ADMIN), **more)

    def everything(self) -> Small:
        """A bit of all that can be carried."""
        self.do(PutProject(manifest=ProjectManifest(name="shop", labels={"a": "b"})))
        data = {"password": Piece(value=b"one", digest="1")}
        self.do(PutContent(kind="secret", project="default", name="db", data=data))
        self.do(PutStorageClass(manifest=StorageClassManifest(name="fast", driver="local")))
        self.do(PutVolume(project="default", manifest=VolumeManifest(name="spare")))
        self.deploy("db", env_from=(EnvFrom(secret="db"),), mounts=(VolumeMount(source="data", target="/d"),))
        self.deploy("web", replicas=3, ports=(Port(container=80, host=8080),))
        self.settle()
        self.deploy("web", replicas=3, image="web:2", ports=(Port(container=80, host=8080),))
        spec = msgspec.convert({"tasks": {"one": {"run": "true"}}}, JobSpec)
        self.do(PutJob(project="default", manifest=JobManifest(name="nightly", spec=spec)))
        return self


def joined(*members: str) -> GrownHive:
    hive = GrownHive(*members)
    hive.admit("b", runtimes=("oci",))
    hive.begun()
    return hive


def bring(hive: GrownHive, small: Small, *, refused: bool = False, by: str = "") -> Any:
    operation = AdoptRecords(node=small.id, records=pack(belongings(small.state)))
    return hive.do(operation, by=by or small.admin, refused=refused)


def test_what_runs_goes_on_under_the_same_ids() -> None:
    small, hive = Small().everything(), joined("c")
    before = {a.id: a for a in small.state.allocations.values() if a.live}
    bring(hive, small)
    after = {a.id: a for a in hive.state.allocations.values() if a.live}
    assert before.keys() <= after.keys() and len(before) >= 4
    for id, allocation in before.items():
        assert after[id] == allocation
    assert hive.node("b").adopted
    assert hive.state.projects["shop"].labels == {"a": "b"}
    assert hive.state.find_job("default", "nightly") and "fast" in hive.state.storage_classes
    assert hive.state.volumes["default/data"].node == small.id
    again = State.restore(hive.state.snapshot())
    assert again.digest() == hive.state.digest() and again.deadline() == hive.state.deadline()


def test_what_was_under_way_is_finished_in_the_hive() -> None:
    small, hive = Small().everything(), joined("c")
    bring(hive, small)
    hive.settle()
    web = hive.live("web")
    assert len(web) == 3 and {a.revision for a in web} == {2}
    assert all(a.state is AllocationState.HEALTHY for a in web)
    hive.lose("b")
    assert len([a for a in hive.live("web") if a.node in ("node-0", hive.ids["c"])]) == 3
    hive.deploy("web", replicas=5, image="web:3")


def test_bringing_it_again_changes_nothing() -> None:
    small, hive = Small().everything(), joined()
    bring(hive, small)
    hive.settle()
    tables = hive.state.picture().tables
    bring(hive, small)
    now = hive.state.picture().tables
    assert {k: v for k, v in now.items() if k != "replies"} == {
        k: v for k, v in tables.items() if k != "replies"
    }


def test_all_clashes_are_told_at_once_and_nothing_is_taken() -> None:
    small, hive = Small().everything(), joined()
    hive.deploy("web")
    hive.do(PutVolume(project="default", manifest=VolumeManifest(name="data")))
    hive.do(
        PutContent(kind="secret", project="default", name="db", data={"x": Piece(value=b"x", digest="x")})
    )
    hive.do(
        PutStorageClass(
            manifest=StorageClassManifest(
                name="fast", driver="nfs", parameters={"server": "nas", "path": "/x"}
            )
        )
    )
    expected = [
        "app default/web", "secret default/db", "volume default/data", "storage class fast",
    ]  # fmt: skip
    found = clashes(hive.state, belongings(small.state))
    assert [each for each in found if not each.startswith("contents")] == expected
    before = hive.state.picture().tables
    refused = bring(hive, small, refused=True)
    assert all(each in refused.message for each in expected) and refused.code == "conflict"
    assert {k: v for k, v in hive.state.picture().tables.items() if k != "replies"} == {
        k: v for k, v in before.items() if k != "replies"
    }
    assert not hive.node("b").adopted


def test_who_cannot_bring_what_it_has_is_not_in_after_all() -> None:
    """Somebody else was first: after it was tried, and before it was agreed."""
    small, hive = Small().everything(), GrownHive()
    token = hive.token(role="member", uses=1)
    hive.do(hive.joining("b", token), by="node-0")
    hive.ids["b"] = small.id
    assert small.id in hive.state.nodes and not hive.state.join_tokens[token.public].uses
    hive.deploy("web")
    outcome = bring(hive, small)
    assert "app default/web" in outcome.message and "then join again" in outcome.hint
    assert not {small.id, small.admin} & (hive.state.nodes.keys() | hive.state.principals.keys())
    assert hive.state.join_tokens[token.public].uses == 1 and "shop" not in hive.state.projects
    hive.do(DeleteApp(project="default", name="web"))
    hive.settle()
    hive.do(hive.joining("b", token), by="node-0")
    assert not bring(hive, small).message and hive.node("b").adopted


def test_ports_and_service_names_of_the_hives_apps_are_not_brought() -> None:
    small, hive = Small(), joined("c")
    ports = (Port(container=80, host=8080), Port(container=81, host=8081))
    small.deploy("mine", ports=ports, service="web.local")
    small.deploy("gone", ports=(Port(container=80, host=9090),))
    small.do(DeleteApp(project="default", name="gone"))
    hive.deploy("theirs", ports=ports[:1], service="web.local")
    hive.deploy("other", ports=(Port(container=80, host=9090),))
    told = bring(hive, small, refused=True).message
    assert (
        "port 8080/tcp of app default/mine" in told and "service name web.local of app default/mine" in told
    )
    assert "8081" not in told and "9090" not in told
    hive.do(DeleteApp(project="default", name="theirs"))
    bring(hive, small)


def test_what_means_the_same_does_not_clash() -> None:
    small, hive = Small(), joined()
    for each in (small, hive):
        each.do(PutStorageClass(manifest=StorageClassManifest(name="fast", driver="local")))
        each.do(PutProject(manifest=ProjectManifest(name="shop", labels={"of": type(each).__name__})))
    bring(hive, small)
    assert hive.state.projects["shop"].labels == {"of": "GrownHive"}, "the hive's own stays"


def test_a_run_that_goes_on_is_not_carried() -> None:
    small = Small().everything()
    small.do(StartRun(project="default", job="nightly"))
    with pytest.raises(Conflict, match="a run goes on that cannot be carried into another hive: nightly"):
        belongings(small.state)


def test_who_may_bring() -> None:
    small, hive = Small().everything(), joined("c")
    operation = AdoptRecords(node=small.id, records=pack(belongings(small.state)))
    assert hive.do(operation, by=hive.ids["b"], refused=True).code == "forbidden"
    assert hive.do(msgspec.structs.replace(operation, node="x"), refused=True).code == "not-found"
    founder = msgspec.structs.replace(operation, node="node-0")
    assert "brings nothing" in hive.do(founder, refused=True).message
    hive.do(LeaveHive(node="b"))
    assert hive.do(operation, refused=True).code == "conflict"


def _with(found: Any, table: str, **changed: Any) -> Any:
    records = {k: msgspec.structs.replace(record, **changed) for k, record in found[table].items()}
    return {**found, table: records}


BROKEN: dict[str, tuple[Any, str]] = {
    "no JSON": (lambda found: zlib.compress(b"x"), "cannot be read"),
    "not compressed": (lambda found: b"xyz", "cannot be read"),
    "cut": (lambda found: pack(found)[:-9], "not whole"),
    "another table": (lambda found: zlib.compress(encode({"nodes": {}})), "nothing is carried of nodes"),
    "another key": (
        lambda found: pack({**found, "apps": {"x": next(iter(found["apps"].values()))}}), "what its key says",
    ),
    "a record that is none": (lambda found: zlib.compress(encode({"apps": {"x": {}}})), "cannot be read"),
    "no apps": (lambda found: pack({**found, "apps": {}}), "is of no app"),
    "no revisions": (lambda found: pack({**found, "revisions": {}}), "has no revision"),
    "no contents": (lambda found: pack({**found, "contents": {}}), "not there"),
    "no bundles": (lambda found: pack({**found, "bundles": {}}), "is of none"),
    "no definitions": (lambda found: pack({**found, "definitions": {}}), "has no definition"),
    "no jobs": (lambda found: pack({**found, "jobs": {}}), "of no job"),
    "replicas without end": (lambda found: pack(_with(found, "apps", replicas=10**9)), "replicas at most"),
    "what nobody may deploy": (lambda found: pack(_with(found, "revisions", spec=AppSpec())), ""),
}  # fmt: skip


@pytest.mark.parametrize(("breaks", "why"), BROKEN.values(), ids=BROKEN.keys())
def test_records_that_do_not_hold_together_are_refused(breaks: Any, why: str) -> None:
    small, hive = Small().everything(), joined()
    operation = AdoptRecords(node=small.id, records=breaks(belongings(small.state)))
    outcome = hive.do(operation, by=small.admin, refused=True)
    assert outcome.code == "invalid" and why in outcome.message


def test_what_is_of_another_node_is_not_brought() -> None:
    small, hive = Small("c").everything(), joined()
    operation = AdoptRecords(node=hive.ids["b"], records=pack(belongings(small.state)))
    assert "not of this node" in hive.do(operation, refused=True).message


def test_too_much_is_told_before_it_is_sent() -> None:
    small = Small()
    noise = b"".join(blake2b(str(n).encode()).digest() for n in range(12_000))
    data = {"noise": Piece(value=noise, digest="1")}
    small.do(PutContent(kind="config", project="default", name="big", data=data))
    with pytest.raises(TooLarge, match="can be agreed"):
        pack(belongings(small.state))


def test_a_bomb_is_not_inflated() -> None:
    with pytest.raises(Invalid, match="too many"):
        unpack(zlib.compress(b" " * (65 * 2**20), 9))


def test_an_empty_node_brings_nothing() -> None:
    small, hive = Small(), joined()
    bring(hive, small)
    assert hive.node("b").adopted


def test_every_node_computes_the_same() -> None:
    digests = set()
    for _ in range(2):
        small, hive = Small().everything(), joined("c")
        operation = AdoptRecords(node=small.id, records=pack(belongings(small.state)))
        fork = hive.state.fork()
        for state in (hive.state, fork):
            signed = Signed(small.admin, "adopt", operation)
            state.apply(state.sequence + 1, hive.time + 1000, [signed])
            digests.add(state.digest())
    assert len(digests) == 1
