"""Who belongs to the hive and where it is, by what was agreed, heard, found and remembered."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.daemon.hive.directory import Directory
from hivemind.model.node import Node
from hivemind.state.state import State

HERE, THERE, ELSEWHERE = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)


def state_of(*names: str) -> State:
    state = State("hive")
    for name in names:
        agree(state, name)
    return state


def agree(state: State, name: str, *addresses: str) -> None:
    node = Node(id=name, name=name, cpus=1.0, memory=1, arch="x", runtimes=())
    state.tables.put(state.nodes, name, replace(node, addresses=addresses))


def test_before_anything_is_known_whom_the_sponsor_named_is_believed() -> None:
    state = state_of()
    directory = Directory("me", state, {"a": (HERE,)})
    assert directory.others() == ["a"] and directory.belongs("a") and not directory.belongs("b")
    assert directory.everybody() == {"a": (HERE,)}
    agree(state, "me")
    agree(state, "b")
    directory.settled()
    assert directory.others() == ["b"] and directory.belongs("b") and not directory.belongs("a")


def test_who_is_gone_is_talked_to_for_a_while_and_belongs_no_more() -> None:
    now = 100.0
    state = state_of("me", "a")
    directory = Directory("me", state, {}, lambda: now)
    assert not directory.settled()
    state.tables.remove(state.nodes, "a")
    assert directory.settled() and not directory.settled()
    assert directory.allowed("a") and not directory.belongs("a") and directory.others() == []
    now += 29.0
    assert directory.allowed("a")
    now += 2.0
    assert not directory.allowed("a")


def test_who_comes_back_in_time_is_not_cut_off_later() -> None:
    now = 100.0
    state = state_of("me", "a")
    directory = Directory("me", state, {}, lambda: now)
    state.tables.remove(state.nodes, "a")
    directory.settled()
    agree(state, "a")
    directory.settled()
    now += 60.0
    assert directory.allowed("a")


def test_the_likeliest_address_comes_first() -> None:
    state = state_of("me")
    agree(state, "a", "10.0.0.1:1", "nonsense")
    directory = Directory("me", state, {"a": (ELSEWHERE, HERE)})
    assert directory.addresses("a") == (HERE, ELSEWHERE)
    directory.found("a", (THERE,))
    assert directory.addresses("a") == (THERE, HERE, ELSEWHERE)
    directory.heard("a", (ELSEWHERE,))
    assert directory.addresses("a") == (ELSEWHERE, THERE, HERE)
    assert directory.addresses("b") == () and "me" not in directory.everybody()
