"""How nodes go: by a wish, at once, for ever."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from grown_hive import ADMIN, GrownHive, key
from hivemind.model.allocation import AllocationState, Desired
from hivemind.model.mount import VolumeMount
from hivemind.model.node import NodeManifest
from hivemind.model.principal import Principal, Role
from hivemind.protocols.autobee.entry import Head, Notary
from hivemind.protocols.autobee.evidence import Fork, encode_evidence
from hivemind.protocols.pbft.signatures import Signatures
from hivemind.protocols.pbft.wire import Evidence, Prepare
from hivemind.security.identity import verify
from hivemind.state import leaving
from hivemind.state.operations import (
    DrainNode,
    ExpelNode,
    LeaveHive,
    PutJoinToken,
    RegisterPrincipal,
    ReportEvidence,
    RevokePrincipal,
    ScaleApp,
    UpdateNode,
)
from hivemind.state.state import State


def gone(hive: GrownHive, name: str) -> bool:
    return hive.ids[name] not in hive.state.nodes


# -- leaving -------------------------------------------------------------------------------------------------


def test_who_leaves_goes_when_others_decide_and_nothing_of_it_lives() -> None:
    hive = GrownHive(*"bcd")
    hive.deploy(replicas=4)
    hive.settle()
    hive.do(LeaveHive(node="b"), by=hive.ids["b"])
    assert hive.node("b").leaving and hive.node("b").drained and hive.record.change == "b went"
    hive.begun()
    assert hive.voters == ["c", "d", "node-0"] and not gone(hive, "b"), "its replica still serves"
    hive.settle()
    assert gone(hive, "b") and hive.ids["b"] not in hive.state.principals
    assert key("admin of b").public not in hive.state.principals
    assert len(hive.live()) == 4
    assert hive.register("b", refused=True).code == "forbidden"


def test_an_idle_worker_is_gone_with_the_batch() -> None:
    hive = GrownHive("b", workers=("w",))
    hive.do(LeaveHive(node="w"))
    assert gone(hive, "w")


def test_by_force_what_it_ran_is_lost_at_once() -> None:
    hive = GrownHive(*"bcd")
    hive.deploy(replicas=4)
    hive.settle()
    hive.do(LeaveHive(node="b", force=True))
    assert [a.reason for a in hive.allocations() if a.state is AllocationState.LOST] == ["node b left"]
    assert len(hive.live()) == 4 and hive.ids["b"] not in {a.node for a in hive.live()}
    hive.begun()
    hive.wait(0)
    assert gone(hive, "b")


def test_who_leaves_is_not_uncordoned_and_asks_again_in_vain() -> None:
    hive = GrownHive(*"bcd")
    hive.do(LeaveHive(node="b"))
    update = UpdateNode(manifest=NodeManifest(name="b", schedulable=True))
    assert "is leaving" in hive.do(update, refused=True).message
    assert "is leaving" in hive.do(hive.joining("b", hive.token()), by="node-0", refused=True).message
    assert "is not there" in hive.ready("b", refused=True).message
    since = hive.node("b").leaving
    hive.do(LeaveHive(node="b"))
    assert hive.node("b").leaving == since


def test_who_left_may_come_again() -> None:
    hive = GrownHive(*"bcd")
    hive.do(LeaveHive(node="b"))
    hive.begun()
    hive.wait(0)
    assert gone(hive, "b")
    hive.incarnations.clear()
    hive.admit("b")
    hive.begun()
    assert "b" in hive.voters


def test_a_lost_node_that_leaves_is_gone() -> None:
    hive = GrownHive(*"bcd")
    hive.deploy(replicas=4)
    hive.settle()
    hive.lose("b")
    hive.do(LeaveHive(node="b"))
    hive.begun()
    hive.wait(0)
    assert gone(hive, "b")


def test_the_last_voter_does_not_leave_those_who_cannot_decide() -> None:
    hive = GrownHive(workers=("w",))
    for operation in (LeaveHive(node="node-0"), LeaveHive(node="node-0", force=True)):
        assert "last voter" in hive.do(operation, refused=True).message
    assert "last voter" in hive.do(ExpelNode(node="node-0"), refused=True).message


@pytest.mark.parametrize("operation", [LeaveHive(node="node-0"), ExpelNode(node="node-0")])
def test_the_only_node_cannot_go(operation: Any) -> None:
    assert "only node" in GrownHive().do(operation, refused=True).message


def test_the_last_administrator_does_not_go_with_its_node() -> None:
    hive = GrownHive("b")
    hive.do(RevokePrincipal(name="admin-b"))
    assert "the last administrator" in hive.do(LeaveHive(node="node-0"), refused=True).message
    hive.do(RegisterPrincipal(principal=Principal(id="ab" * 32, name="ann", kind="person", role=Role.ADMIN)))
    hive.do(LeaveHive(node="node-0"))
    hive.begun()
    hive.wait(0)
    assert gone(hive, "node-0") and ADMIN not in hive.state.principals


def test_a_node_leaves_only_by_itself_and_only_known_ones_do() -> None:
    hive = GrownHive("b", "c")
    assert hive.do(LeaveHive(node="c"), by=hive.ids["b"], refused=True).code == "forbidden"
    assert hive.do(LeaveHive(node="nobody"), refused=True).code == "not-found"


def test_volumes_that_are_nowhere_else_hold_it_back() -> None:
    hive = GrownHive("b", "c")
    mounts = (VolumeMount(source="data", target="/d"),)
    hive.deploy("db", mounts=mounts, constraints=("node.name==b",))
    hive.settle()
    refused = hive.do(LeaveHive(node="b"), refused=True)
    assert refused.message == "default/data is a volume of the hive that is on 'b' only"
    hive.do(LeaveHive(node="b", force=True))
    [waiting] = hive.live("db")
    assert waiting.state is AllocationState.PENDING


# -- expelling -----------------------------------------------------------------------------------------------


def test_who_is_expelled_is_gone_at_once_and_for_ever() -> None:
    hive = GrownHive(*"bcd")
    hive.deploy(replicas=4)
    hive.settle()
    hive.do(ExpelNode(node="b", reason="stolen"))
    assert gone(hive, "b") and hive.state.expulsions[hive.ids["b"]].reason == "stolen"
    assert len(hive.live()) == 4 and hive.record.change == "b went"
    assert key("admin of b").public not in hive.state.principals
    hive.begun()
    assert hive.voters == ["c", "d", "node-0"]
    assert "expelled" in hive.do(hive.joining("b", hive.token()), by="node-0", refused=True).message
    back = RegisterPrincipal(principal=Principal(id=hive.ids["b"], name="b", kind="node"))
    assert "expelled" in hive.do(back, refused=True).message


def test_nor_does_another_key_of_it_come_with_the_tokens_that_it_has() -> None:
    hive = GrownHive(*"bc")
    came_with, others = hive.token(uses=3), hive.token(uses=3)
    hive.do(hive.joining("mole", came_with), by="node-0")
    hive.ids["mole"] = key("mole").public
    hive.register("mole")
    made = PutJoinToken(id=key("its own").public, uses=3, expires=hive.time + 100_000)
    hive.do(made, by=key("admin of mole").public)
    hive.do(ExpelNode(node="mole"))
    for token in (came_with, key("its own")):
        assert (
            "expired, or was revoked" in hive.do(hive.joining("d", token), by="node-0", refused=True).message
        )
    hive.do(hive.joining("d", others), by="node-0")
    assert list(hive.state.join_tokens) == [others.public]
    hive.wait(4_000)
    assert not len(hive.state.join_tokens)


def test_the_tokens_of_an_administrator_who_stays_stay() -> None:
    hive = GrownHive("b", "c")
    token = hive.token()
    hive.do(RevokePrincipal(name="admin-b"))
    hive.do(RevokePrincipal(name="admin-c"))
    hive.do(ExpelNode(node="b"))
    assert token.public in hive.state.join_tokens


def test_an_expelled_voters_seat_is_a_spares() -> None:
    hive = GrownHive(*"bcde", max_voters=4)
    hive.do(ExpelNode(node="b"))
    hive.begun()
    assert hive.voters == ["c", "d", "e", "node-0"]


def test_only_a_person_expels_and_only_whom_there_is() -> None:
    hive = GrownHive("b")
    assert hive.do(ExpelNode(node="node-0"), by=hive.ids["b"], refused=True).code == "forbidden"
    assert hive.do(ExpelNode(node="nobody"), refused=True).code == "not-found"


def test_a_proof_expels_whoever_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hive = GrownHive(*"bcd")
    domains = []

    def proven(proof: bytes, domain: str, verify: Any, epoch: Any) -> str | None:
        domains.append(domain)
        return proof.decode() or None

    monkeypatch.setattr(leaving, "proven", proven)
    b, c = hive.ids["b"], hive.ids["c"]
    for wrong in (b"", c.encode()):
        refused = hive.do(ReportEvidence(node=b, proof=wrong), by=c, refused=True)
        assert "proves nothing about node 'b'" in refused.message
    hive.do(ReportEvidence(node=b, proof=b.encode()), by=c)
    assert gone(hive, "b") and hive.state.expulsions[b].proof == b.encode()
    before = hive.state.expulsions[b]
    hive.do(ReportEvidence(node=b, proof=b"whatever"), by="node-0")
    assert hive.state.expulsions[b] == before and set(domains) == {"testhive"}
    assert hive.do(ReportEvidence(node="nobody", proof=b""), by=c, refused=True).code == "not-found"


def contradiction(
    hive: GrownHive, name: str, *, domain: str = "", epoch: int = 1, same: bool = False
) -> bytes:
    """Two votes of that node for one sequence."""
    signatures, signer = Signatures(domain or hive.record.domain, verify), key(name)
    first, second = (
        signatures.sign(signer, epoch, Prepare(0, 40, bytes([0 if same else n]) * 32)) for n in (1, 2)
    )
    return msgspec.msgpack.encode(Evidence(epoch, first, second))


def test_two_votes_that_contradict_each_other_expel_whoever_signed_them() -> None:
    hive = GrownHive(*"bcd")
    b, c = hive.ids["b"], hive.ids["c"]
    for worthless in (
        contradiction(hive, "b", same=True),
        contradiction(hive, "b", domain="another hive"),
        contradiction(hive, "d"),
        contradiction(hive, "b")[:-1],
        b"",
        msgspec.msgpack.encode([1, 2]),
    ):
        hive.do(ReportEvidence(node=b, proof=worthless), by=c, refused=True)
    hive.do(ReportEvidence(node=b, proof=contradiction(hive, "b")), by=c)
    assert gone(hive, "b") and hive.state.expulsions[b].reason == "it contradicted itself"


def forked(hive: GrownHive, name: str, *, domain: str = "", same: bool = False) -> bytes:
    """Two heads of one log of that node."""
    notary = Notary(domain or hive.record.id, verify)
    heads = (notary.sign(key(name), Head(1, 7, bytes([0 if same else n]) * 32)) for n in (1, 2))
    return encode_evidence(Fork(*heads))


def test_two_logs_in_the_shared_store_expel_whoever_signed_them() -> None:
    hive = GrownHive(*"bcd")
    b, c = hive.ids["b"], hive.ids["c"]
    for worthless in (
        forked(hive, "b", same=True),
        forked(hive, "b", domain="another hive"),
        forked(hive, "d"),
        forked(hive, "b")[:-1],
    ):
        hive.do(ReportEvidence(node=b, proof=worthless), by=c, refused=True)
    proof = forked(hive, "b")
    hive.do(ReportEvidence(node=b, proof=proof), by=c)
    expulsion = hive.state.expulsions[b]
    assert gone(hive, "b") and (expulsion.reason, expulsion.proof) == ("it signed two different logs", proof)
    hive.do(ReportEvidence(node=b, proof=proof), by="node-0")
    assert hive.state.expulsions[b] == expulsion


def test_a_convicted_nodes_administrator_goes_with_it_unless_it_is_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hive = GrownHive(*"bcd")
    monkeypatch.setattr(leaving, "proven", lambda proof, domain, verify, epoch: convicted)
    convicted = hive.ids["b"]
    hive.do(ReportEvidence(node=convicted, proof=b"x"), by="node-0")
    assert key("admin of b").public not in hive.state.principals
    for name in "cd":
        hive.do(RevokePrincipal(name=f"admin-{name}"))
    convicted = "node-0"
    hive.do(ReportEvidence(node=convicted, proof=b"x"), by=hive.ids["c"])
    assert gone(hive, "node-0") and hive.state.principals[ADMIN].role is Role.ADMIN


def test_a_liar_among_four_that_have_to_be_four_keeps_an_empty_seat(monkeypatch: pytest.MonkeyPatch) -> None:
    hive = GrownHive(*"bcd", require_bft=True)
    monkeypatch.setattr(leaving, "proven", lambda proof, domain, verify, epoch: hive.ids["b"])
    hive.do(ReportEvidence(node=hive.ids["b"], proof=b"x"), by="node-0")
    hive.begun()
    assert len(hive.voters) == 4 and "b" in hive.voters and gone(hive, "b")
    hive.admit("e")
    hive.begun()
    assert hive.voters == ["c", "d", "e", "node-0"]


# -- draining ------------------------------------------------------------------------------------------------


def test_when_a_deadline_has_passed_what_is_left_is_stopped_hard() -> None:
    hive = GrownHive("b")
    hive.deploy(replicas=4)
    hive.settle()
    hive.do(DrainNode(name="b", deadline=60_000))
    due = hive.node("b").deadline
    assert due == hive.state.time + 60_000 == hive.state.deadline()
    assert State.restore(hive.state.snapshot()).deadline() == due
    here = [a for a in hive.live() if a.node == hive.ids["b"]]
    assert here and not any(a.kill for a in here)
    hive.wait(60)
    here = [a for a in hive.live() if a.node == hive.ids["b"]]
    assert here and all(a.kill and a.desired is Desired.STOP for a in here)
    assert not hive.node("b").deadline and hive.node("b").drained
    hive.settle()
    assert {a.node for a in hive.live()} == {"node-0"} and len(hive.live()) == 4


def test_a_node_that_is_used_again_has_no_deadline() -> None:
    hive = GrownHive("b")
    hive.do(DrainNode(name="b", deadline=60_000))
    hive.do(UpdateNode(manifest=NodeManifest(name="b", schedulable=True)))
    assert not hive.node("b").deadline and hive.state.deadline() is None
    assert hive.do(DrainNode(name="b", deadline=-1), refused=True).code == "invalid"


def test_draining_goes_on_while_an_app_grows() -> None:
    hive = GrownHive("b")
    hive.deploy(replicas=4)
    hive.settle()
    hive.do(DrainNode(name="b", deadline=1000))
    hive.do(ScaleApp(project="default", name="web", replicas=8))
    hive.wait(1)
    hive.settle()
    assert {a.node for a in hive.live()} == {"node-0"} and len(hive.live()) == 8
