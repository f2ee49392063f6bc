"""How a hive begins, who comes in, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from grown_hive import ADMIN, HOUR, GrownHive, key
from hive import Hive
from hivemind.model.principal import Principal, Role
from hivemind.security.joining import joining
from hivemind.state.operations import (
    ConfigureHive,
    DeleteJoinToken,
    ExpelNode,
    FoundHive,
    LeaveHive,
    PutJoinToken,
    ReadyToVote,
    RegisterNode,
    RegisterPrincipal,
    ReportCoordinates,
)
from hivemind.state.state import State

FOUND = FoundHive(name="bees", node="node-0")


# -- founding ------------------------------------------------------------------------------------------------


def test_a_node_alone_has_no_hive_record() -> None:
    hive = Hive()
    assert hive.state.hive_record is None
    assert hive.state.voters == ()
    assert hive.state.epoch_at(1) is None


def test_who_founds_decides_alone() -> None:
    hive = Hive()
    hive.do(FOUND)
    record = hive.state.hive_record
    assert record and record.name == "bees" and record.id == "testhive"
    assert record.epoch.voters == ("node-0",) == hive.state.voters
    assert record.epoch.number == 0 and record.epoch.since == hive.state.sequence
    assert record.next is None and hive.state.deadline() is None
    assert hive.state.epoch_at(hive.state.sequence) == record.epoch
    assert hive.state.epoch_at(hive.state.sequence - 1) is None
    assert [term.reason for term in hive.state.terms.values()] == ["node-0 founded the hive"]
    assert hive.state.nodes["node-0"].administrator == ADMIN


def test_founding_again_changes_nothing() -> None:
    hive = Hive()
    hive.do(FOUND)
    before = hive.state.hive_record
    hive.do(FOUND)
    assert hive.state.hive_record == before
    assert (
        "belongs to the hive 'bees'" in hive.do(FoundHive(name="wasps", node="node-0"), refused=True).message
    )


@pytest.mark.parametrize(
    ("nodes", "founding", "why"),
    [
        (0, {}, "the one node"),
        (2, {}, "the one node"),
        (1, {"node": "other"}, "the one node"),
        (1, {"max_voters": 0}, "0 voters are not possible"),
        (1, {"max_voters": 65}, "65 voters are not possible"),
        (1, {"max_voters": 3, "require_bft": True}, "none of them may lie"),
        (1, {"rotation": 59_999}, "a minute at least"),
        (1, {"engine": "local"}, "agrees on nothing with others"),
    ],
)
def test_what_founding_refuses(nodes: int, founding: dict[str, Any], why: str) -> None:
    operation = FoundHive(**{"name": "bees", "node": "node-0", **founding})
    assert why in Hive(nodes).do(operation, refused=True).message


@pytest.mark.parametrize(
    "operation",
    [
        FOUND,
        ConfigureHive(name="x"),
        PutJoinToken(id="0" * 64, expires=1),
        DeleteJoinToken(id="00"),
        ExpelNode(node="node-0"),
    ],
)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_only_administrators_decide_about_the_hive(operation: Any, role: Role) -> None:
    hive = Hive()
    hive.do(RegisterPrincipal(principal=Principal(id="ab" * 32, name="eve", kind="person", role=role)))
    assert hive.do(operation, by="ab" * 32, refused=True).code == "forbidden"
    assert hive.do(operation, by="node-0", refused=True).code == "forbidden"


@pytest.mark.parametrize(
    "operation",
    [
        ConfigureHive(name="x"),
        PutJoinToken(id="0" * 64, expires=2**45),
        LeaveHive(node="node-0"),
        ExpelNode(node="node-0"),
    ],
)
def test_nothing_of_it_where_a_node_is_alone(operation: Any) -> None:
    outcome = Hive().do(operation, refused=True)
    assert outcome.code == "conflict" and "alone" in outcome.message and "init" in outcome.hint


# -- configuring ---------------------------------------------------------------------------------------------


def test_what_is_not_said_stays() -> None:
    hive = GrownHive()
    hive.do(ConfigureHive(name="wasps", rebalance=True))
    assert (hive.record.name, hive.record.max_voters, hive.record.rebalance) == ("wasps", 7, True)
    assert hive.record.version == 2
    hive.do(ConfigureHive(rotation=HOUR))
    assert (hive.record.name, hive.record.rotation, hive.record.version) == ("wasps", HOUR, 3)
    hive.do(ConfigureHive(rotation=HOUR))
    assert hive.record.version == 3
    assert hive.do(ConfigureHive(name="late", if_version=2), refused=True).code == "stale"


@pytest.mark.parametrize(
    ("members", "changed", "why"),
    [
        ((), {"max_voters": 0}, "0 voters"),
        ((), {"rotation": 1}, "a minute"),
        ((), {"max_voters": 3, "require_bft": True}, "none of them may lie"),
        (("b",), {"require_bft": True}, "2 voters cannot stand one that lies"),
        (("b", "c"), {"require_bft": True}, "3 voters cannot stand one that lies"),
        ((), {"require_bft": True}, ""),
        (("b", "c", "d"), {"require_bft": True}, ""),
    ],
)
def test_what_configuring_refuses(members: tuple[str, ...], changed: dict[str, Any], why: str) -> None:
    outcome = GrownHive(*members).do(ConfigureHive(**changed), refused=bool(why))
    assert why in outcome.message


# -- tokens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"uses": 0}, "0 nodes"),
        ({"uses": 1001}, "1001 nodes"),
        ({"expires": 1}, "expired already"),
        ({"expires": 2**45}, "a year at most"),
    ],
)
def test_what_tokens_cannot_be(given: dict[str, Any], why: str) -> None:
    hive = GrownHive()
    operation = PutJoinToken(**{"id": "0" * 64, "expires": hive.time + HOUR, **given})
    assert why in hive.do(operation, refused=True).message


def test_a_token_is_not_somebodys_key_and_is_made_once() -> None:
    hive = GrownHive("b")
    token = hive.token()
    again = PutJoinToken(id=token.public, expires=hive.time + HOUR)
    assert "already" in hive.do(again, refused=True).message
    theirs = PutJoinToken(id=hive.ids["b"], expires=hive.time + HOUR)
    assert "belongs to somebody" in hive.do(theirs, refused=True).message


def test_a_token_is_gone_when_it_expires_or_is_revoked() -> None:
    hive = GrownHive()
    token, other = hive.token(ttl=60_000), hive.token()
    assert hive.state.deadline() == hive.state.join_tokens[token.public].expires
    hive.wait(61)
    assert list(hive.state.join_tokens) == [other.public]
    hive.do(DeleteJoinToken(id=other.public[:8]))
    assert not len(hive.state.join_tokens) and hive.state.deadline() is None
    assert hive.do(DeleteJoinToken(id=other.public), refused=True).code == "not-found"
    assert hive.do(DeleteJoinToken(id=""), refused=True).code == "not-found"


def test_a_beginning_of_two_tokens_is_of_none() -> None:
    hive = GrownHive()
    for end in ("1", "2"):
        hive.do(PutJoinToken(id="0" * 63 + end, expires=hive.time + HOUR))
    assert "2 tokens" in hive.do(DeleteJoinToken(id="0000"), refused=True).message


# -- joining -------------------------------------------------------------------------------------------------


def test_who_joins_is_expected_until_it_registers() -> None:
    hive = GrownHive()
    hive.deploy(replicas=3)
    token = hive.token()
    hive.do(hive.joining("b", token), by="node-0")
    id = hive.ids["b"] = key("b").public
    node = hive.node("b")
    assert node.expected and node.away and node.role == "member" and node.token == token.public
    assert hive.state.principals[id].kind == "node"
    hive.deploy("more", replicas=3)
    assert {a.node for a in hive.allocations("more")} == {"node-0"}
    hive.register("b", addresses=("10.0.0.2:7946",), subnet="10.42.2.0/24")
    assert not hive.node("b").expected
    assert hive.node("b").addresses == ("10.0.0.2:7946",) and hive.node("b").subnet == "10.42.2.0/24"
    hive.deploy("third", replicas=3)
    assert id in {a.node for a in hive.allocations("third")}


def test_a_members_administrator_administers_the_hive_a_workers_does_not() -> None:
    hive = GrownHive("b", workers=("w",))
    assert hive.state.principals[key("admin of b").public].role is Role.ADMIN
    assert hive.state.principals[key("admin of b").public].name == "admin-b"
    assert key("admin of w").public not in hive.state.principals
    hive.do(ConfigureHive(rebalance=True), by=key("admin of b").public)
    hive.admit("x", role="witness")
    assert key("admin of x").public not in hive.state.principals


def test_a_known_administrator_keeps_its_role_and_a_taken_name_is_not_taken_twice() -> None:
    hive = GrownHive()
    person = key("admin of b").public
    hive.do(RegisterPrincipal(principal=Principal(id=person, name="bo", kind="person", role=Role.VIEWER)))
    hive.admit("b")
    assert hive.state.principals[person].role is Role.VIEWER and not hive.node("b").administrator
    other = Principal(id="ab" * 32, name="admin-c", kind="person", role=Role.VIEWER)
    hive.do(RegisterPrincipal(principal=other))
    hive.admit("c")
    assert hive.state.principals[key("admin of c").public].name == f"admin-{hive.ids['c'][:16]}"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a proof of nothing": ({"proof": b"x" * 64}, "the proof"),
    "a proof that is cut": ({"proof": b"x"}, "the proof"),
    "no proof": ({"proof": b""}, "the proof"),
    "consent of nobody": ({"consent": b"x" * 64}, "has not signed"),
    "another node with that proof": ({"node": key("z").public}, "the proof"),
    "another administrator with it": ({"administrator": key("z").public}, "the proof"),
    "another role": ({"role": "worker"}, "is for a member, not for a worker"),
    "the name of a node": ({"name": "node-0"}, "belongs to another node"),
    "the name of a person": ({"name": "admin"}, "belongs to a person"),
    "an old program": ({"protocol": 0}, "speaks version 0"),
}


@pytest.mark.parametrize(("changed", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_joining_refuses(changed: dict[str, Any], why: str) -> None:
    hive = GrownHive()
    token = hive.token()
    outcome = hive.do(hive.joining("b", token, **changed), by="node-0", refused=True)
    assert why in outcome.message
    assert len(hive.state.nodes) == 1 and hive.state.join_tokens[token.public].uses == 1
    assert key("admin of b").public not in hive.state.principals
    hive.do(hive.joining("b", token), by="node-0")


def test_a_stranger_cannot_bring_anyone_and_a_person_need_not() -> None:
    hive = GrownHive()
    token = hive.token()
    assert hive.do(hive.joining("b", token), by=key("b").public, refused=True).code == "forbidden"
    assert hive.do(hive.joining("b", token), by=ADMIN, refused=True).code == "forbidden"


def test_a_token_lets_in_as_many_as_it_says() -> None:
    hive = GrownHive()
    token = hive.token(uses=2)
    for name in ("b", "c"):
        hive.do(hive.joining(name, token), by="node-0")
    assert (hive.state.join_tokens[token.public].uses, hive.state.join_tokens[token.public].used) == (0, 2)
    assert "used up" in hive.do(hive.joining("d", token), by="node-0", refused=True).message


def test_who_asks_again_is_in_even_when_the_token_is_not_good_any_more() -> None:
    hive = GrownHive()
    token = hive.token()
    asked = hive.joining("b", token)
    first = hive.do(asked, by="node-0")
    hive.do(DeleteJoinToken(id=token.public))
    assert hive.do(asked, by="node-0") == first
    other = hive.joining("b", token, name="c")
    assert "in the hive already, as the member 'b'" in hive.do(other, by="node-0", refused=True).message


def test_a_token_of_another_hive_or_that_expired_is_worth_nothing() -> None:
    hive = GrownHive()
    assert "expired" in hive.do(hive.joining("b", key("their token")), by="node-0", refused=True).message
    token = hive.token(ttl=1000)
    hive.time += 2000
    assert "expired" in hive.do(hive.joining("b", token), by="node-0", refused=True).message


def test_signatures_of_another_hive_do_not_count_here() -> None:
    hive = GrownHive()
    token = hive.token()
    signed = joining("otherhive", key("b").public, key("admin of b").public)
    asked = hive.joining("b", token, proof=token.sign(signed), consent=key("b").sign(signed))
    assert "the proof" in hive.do(asked, by="node-0", refused=True).message


def test_keys_of_others_cannot_join() -> None:
    hive = GrownHive("b")
    hive.do(
        RegisterPrincipal(principal=Principal(id=key("p").public, name="p", kind="person", role=Role.VIEWER))
    )
    token = hive.token()
    signed = joining("testhive", key("p").public, key("admin of q").public)
    asked = hive.joining(
        "q", token, node=key("p").public, proof=token.sign(signed), consent=key("p").sign(signed)
    )
    assert "belongs to 'p'" in hive.do(asked, by="node-0", refused=True).message
    signed = joining("testhive", key("q").public, hive.ids["b"])
    asked = hive.joining(
        "q", token, administrator=hive.ids["b"], proof=token.sign(signed), consent=key("q").sign(signed)
    )
    assert "is a node's" in hive.do(asked, by="node-0", refused=True).message


def test_the_hive_speaks_what_all_understand_and_never_less() -> None:
    hive = GrownHive("b")
    assert hive.record.protocol == 1
    hive.register("b", protocol=3)
    assert hive.record.protocol == 1
    hive.do(RegisterNode(id="node-0", name="node-0", cpus=4, memory=2**33, protocol=2), by="node-0")
    assert hive.record.protocol == 2
    assert "speaks version 1" in hive.register("b", protocol=1, refused=True).message
    refused = hive.do(hive.joining("c", hive.token(), protocol=1), by="node-0", refused=True)
    assert refused.code == "unsupported" and "install" in refused.hint
    hive.do(hive.joining("c", hive.token(), protocol=2), by="node-0")


def test_that_the_oldest_goes_lets_the_others_speak_more() -> None:
    hive = GrownHive("b", "c", "d")
    for name in ("b", "c", "d"):
        hive.register(name, protocol=2)
    assert hive.record.protocol == 1
    hive.do(LeaveHive(node="node-0"), by=key("admin of b").public)
    hive.begun()
    hive.wait(0)
    assert "node-0" not in hive.state.nodes
    assert hive.record.protocol == 2


# -- what nodes say about themselves -------------------------------------------------------------------------


def test_who_may_get_ready() -> None:
    hive = GrownHive("b", workers=("w",), vote=False)
    assert "worker" in hive.ready("w", refused=True).message
    assert hive.do(ReadyToVote(node=hive.ids["b"]), by="node-0", refused=True).code == "forbidden"
    hive.do(hive.joining("c", hive.token()), by="node-0")
    hive.ids["c"] = key("c").public
    assert "not there" in hive.ready("c", refused=True).message
    hive.ready("b")
    since = hive.node("b").ready
    hive.ready("b")
    assert hive.node("b").ready == since == hive.state.time - 10


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ({"position": (1000, -2000, 3), "height": 40}, True),
        ({"position": (), "height": 0}, True),
        ({"position": (1,) * 9}, False),
        ({"position": (60_000_001,)}, False),
        ({"position": (0, 0), "height": 10**9}, False),
    ],
)
def test_where_a_node_stands(said: dict[str, Any], good: bool) -> None:
    hive = GrownHive("b")
    b = hive.ids["b"]
    hive.do(ReportCoordinates(node=b, **said), by=b, refused=not good)
    assert (hive.node("b").position == said["position"]) is (good)
    assert hive.do(ReportCoordinates(node=b, position=(1,)), by="node-0", refused=True).code == "forbidden"


def test_tokens_and_terms_survive_a_restore() -> None:
    hive = GrownHive("b")
    hive.token(ttl=60_000)
    again = State.restore(hive.state.snapshot())
    assert again.digest() == hive.state.digest() and again.deadline() == hive.state.deadline()
    assert again.epoch_at(10**6) == hive.state.epoch_at(10**6)
