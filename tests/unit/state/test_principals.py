"""Who is let in, in which role, and who no longer is."""

from __future__ import annotations

from typing import Any

import pytest

from hive import ADMIN, Hive
from hivemind.model.principal import Principal, Role
from hivemind.model.project import ProjectManifest
from hivemind.security.envelope import STRANGER
from hivemind.state.operations import (
    DeleteProject,
    PutProject,
    RegisterNode,
    RegisterPrincipal,
    RevokePrincipal,
)
from hivemind.state.principals import hive_of
from hivemind.state.state import Outcome, Signed, State

ANN, BOB = "a1" * 32, "b2" * 32


def admit(
    hive: Hive, key: str, name: str, role: Role = Role.OPERATOR, *, version: int | None = None, **more: Any
) -> Outcome:
    principal = Principal(id=key, name=name, kind="person", role=role)
    return hive.do(RegisterPrincipal(principal=principal, if_version=version), **more)


def revoke(hive: Hive, name: str, *, version: int | None = None, **more: Any) -> Outcome:
    return hive.do(RevokePrincipal(name=name, if_version=version), **more)


def test_a_person_gets_in_acts_and_is_out_again() -> None:
    hive = Hive()
    assert admit(hive, ANN, "ann", Role.ADMIN).id == ANN
    ann = hive.state.principals[ANN]
    assert (ann.name, ann.role, ann.version, ann.created) == ("ann", Role.ADMIN, 1, hive.time)
    hive.do(PutProject(manifest=ProjectManifest(name="shop")), by=ANN)
    assert any(reply.signer == ANN for reply in hive.state.replies.values())
    revoke(hive, "ann")
    assert ANN not in hive.state.principals
    assert not [reply for reply in hive.state.replies.values() if reply.signer == ANN]
    refused = hive.do(PutProject(manifest=ProjectManifest(name="late")), by=ANN, refused=True)
    assert refused.code == "forbidden"
    admit(hive, ANN, "ann")
    assert hive.state.principals[ANN].role is Role.OPERATOR


def test_a_role_can_be_changed_and_a_version_matched() -> None:
    hive = Hive()
    assert admit(hive, ANN, "ann", Role.VIEWER, version=0).version == 1
    assert admit(hive, ANN, "ann", Role.OPERATOR, version=1).version == 2
    assert admit(hive, ANN, "ann", Role.OPERATOR).version == 2, "nothing changed"
    assert admit(hive, ANN, "ann", Role.ADMIN, version=1, refused=True).code == "stale"
    assert admit(hive, BOB, "ann", version=0, refused=True).code == "stale"
    assert revoke(hive, "ann", version=1, refused=True).code == "stale"
    revoke(hive, "ann", version=2)


@pytest.mark.parametrize(
    ("key", "name", "code", "says"),
    [
        (BOB, "ann", "conflict", "the name 'ann' belongs to another key"),
        (ANN, "zoe", "conflict", "this key belongs to 'ann' already"),
        (ANN.upper(), "zoe", "invalid", "key"),
        ("a1" * 31, "zoe", "invalid", "key"),
        (BOB, "Zoë!", "invalid", "name"),
        (BOB, "node-0", "forbidden", "is a node"),
    ],
)
def test_names_and_keys_are_their_holders_own(key: str, name: str, code: str, says: str) -> None:
    hive = Hive()
    admit(hive, ANN, "ann")
    before = dict(hive.state.principals)
    refused = admit(hive, key, name, refused=True)
    assert refused.code == code
    assert says in refused.message
    assert dict(hive.state.principals) == before


def test_a_node_is_no_person() -> None:
    hive = Hive()
    node = "c3" * 32
    hive.join(node)
    assert admit(hive, node, "ann", Role.ADMIN, refused=True).message.startswith(
        "this is the key of the node"
    )
    assert revoke(hive, node, refused=True).code == "forbidden"
    assert revoke(hive, "nobody", refused=True).code == "not-found"
    admit(hive, ANN, "ann")
    as_node = RegisterPrincipal(principal=Principal(id=ANN, name="ann", kind="node"))
    assert hive.do(as_node, refused=True).code == "conflict"
    mighty = RegisterPrincipal(principal=Principal(id=BOB, name="n", kind="node", role=Role.ADMIN))
    assert hive.do(mighty, refused=True).code == "invalid"


def test_only_an_administrator_lets_in_and_out() -> None:
    hive = Hive()
    admit(hive, ANN, "ann", Role.OPERATOR)
    assert admit(hive, BOB, "bob", by=ANN, refused=True).code == "forbidden"
    assert admit(hive, ANN, "ann", Role.ADMIN, by=ANN, refused=True).code == "forbidden"
    assert revoke(hive, "admin", by=ANN, refused=True).code == "forbidden"
    assert admit(hive, BOB, "bob", by="node-0", refused=True).code == "forbidden"


def test_the_last_administrator_stays() -> None:
    hive = Hive()
    assert "last administrator" in revoke(hive, "admin", refused=True).message
    admit(hive, ANN, "ann", Role.ADMIN)
    revoke(hive, "admin", by=ANN)
    assert ADMIN not in hive.state.principals
    assert "last administrator" in admit(hive, ANN, "ann", Role.VIEWER, by=ANN, refused=True).message
    assert "last administrator" in revoke(hive, "ann", by=ANN, refused=True).message


def test_the_founder_stays_even_beside_other_administrators() -> None:
    """Root on the founding node acts with its key: without it nobody could mend that node."""
    founder = Principal(id=ANN, name="admin", kind="person", role=Role.ADMIN)
    other = Principal(id=BOB, name="bob", kind="person", role=Role.ADMIN)
    state = State(hive_of(ANN))
    operations = [
        RegisterPrincipal(principal=founder),
        RegisterPrincipal(principal=other),
        RevokePrincipal(name="admin"),
        RegisterPrincipal(principal=Principal(id=ANN, name="admin", kind="person", role=Role.VIEWER)),
    ]
    outcomes = state.apply(1, 10, [Signed(ANN, str(n), each) for n, each in enumerate(operations)])
    assert [outcome.code for outcome in outcomes] == ["", "", "forbidden", "forbidden"]
    assert all("founded this hive" in outcome.message for outcome in outcomes[2:])


def test_a_node_that_changes_its_name_is_found_under_the_new_one() -> None:
    hive = Hive()
    hive.do(RegisterNode(id="node-0", name="renamed", cpus=1.0, memory=1), by="node-0")
    assert hive.state.principals["node-0"].name == "renamed"
    assert admit(hive, ANN, "renamed", refused=True).code == "forbidden"
    admit(hive, ANN, "node-0")


def project(name: str) -> PutProject:
    return PutProject(manifest=ProjectManifest(name=name))


def replayed(hive: Hive, signed: Signed) -> Outcome:
    hive.time += 10
    [outcome] = hive.state.apply(hive.state.sequence + 1, hive.time, [signed])
    return outcome


def test_what_a_stranger_signed_counts_for_nothing_once_it_is_let_in() -> None:
    hive = Hive()
    signed = Signed(ANN, "early", project("early"), STRANGER)
    assert replayed(hive, signed).code == "forbidden"
    admit(hive, ANN, "ann", Role.ADMIN)
    replies = dict(hive.state.replies)
    outcome = replayed(hive, signed)
    assert outcome.code == "forbidden" and "let in" in outcome.message
    assert "early" not in hive.state.projects
    assert dict(hive.state.replies) == replies, "whoever replays drives nothing out"
    since = hive.state.principals[ANN].since
    assert since and not replayed(hive, Signed(ANN, "now", project("now"), since)).code


def test_what_was_signed_in_an_earlier_life_is_not_done_again_in_the_next() -> None:
    hive = Hive()
    admit(hive, ANN, "ann", Role.ADMIN)
    first = hive.state.principals[ANN].since
    done = Signed(ANN, "once", project("once"), first)
    assert not replayed(hive, done).code
    assert not replayed(hive, done).code, "asked twice, told twice"
    admit(hive, ANN, "ann", Role.OPERATOR)
    assert hive.state.principals[ANN].since == first, "another role is no other life"
    hive.do(DeleteProject(name="once"))
    revoke(hive, "ann")
    admit(hive, ANN, "ann", Role.ADMIN)
    assert hive.state.principals[ANN].since > first
    assert replayed(hive, done).code == "forbidden"
    assert "once" not in hive.state.projects
