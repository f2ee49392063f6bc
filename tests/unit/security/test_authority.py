"""Who may do what."""

from __future__ import annotations

import typing

import pytest

from hivemind.errors import Forbidden
from hivemind.model.principal import Role
from hivemind.security.authority import EITHER, FACTS, NEEDED, may
from hivemind.state.operations import AnyOperation


def allowed(role: Role, *, is_node: bool = False) -> set[str]:
    found = set()
    for operation in {*NEEDED, *FACTS}:
        try:
            may(role, operation, is_node=is_node)
        except Forbidden as refusal:
            assert operation in refusal.message
            continue
        found.add(operation)
    return found


def test_every_operation_has_a_line() -> None:
    tags = {member.__struct_config__.tag for member in typing.get_args(AnyOperation)}
    assert tags == {*NEEDED, *FACTS}


def test_roles_ascend() -> None:
    assert allowed(Role.VIEWER) == set()
    work = ("app", "content", "volume", "snapshot", "job", "run", "queue", "routine", "circuit", "event")
    assert allowed(Role.OPERATOR) == {tag for tag in NEEDED if tag.partition(".")[0] in work}
    assert allowed(Role.ADMIN) == set(NEEDED)


@pytest.mark.parametrize("role", list(Role))
def test_nodes_say_facts_and_what_they_notice_and_nothing_else(role: Role) -> None:
    assert allowed(role, is_node=True) == FACTS | EITHER
    assert {"event.raise", "hive.leave"} == EITHER


def test_an_unknown_operation_is_for_nobody() -> None:
    for is_node in (False, True):
        with pytest.raises(Forbidden, match="does not know"):
            may(Role.ADMIN, "no.such", is_node=is_node)


def test_a_refusal_says_which_role_is_needed() -> None:
    with pytest.raises(Forbidden, match="needs the role admin, and this key has operator") as refusal:
        may(Role.OPERATOR, "node.drain")
    assert "admin" in refusal.value.hint
