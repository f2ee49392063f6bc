"""A state that takes over another one's snapshot is that one from then on, for everyone who holds it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hive import Hive
from hivemind.state.operations import DeleteApp, PauseApp, ScaleApp
from hivemind.state.state import Signed, State
from hivemind.state.tables import Change
from unit.state.test_determinism import story

STEPS = st.lists(
    st.tuples(st.sampled_from(["deploy", "scale", "delete", "pause", "settle", "wait"]), st.integers(0, 3)),
    max_size=12,
)


def walk(hive: Hive, steps: list[tuple[str, int]]) -> Hive:
    """Wishes that may be refused, and whatever follows from them."""
    for what, number in steps:
        name = f"app-{number}"
        known = hive.state.find_app("default", name)
        if what == "deploy":
            hive.deploy(name, replicas=number, image=f"web:{hive.count}")
        elif what == "settle":
            hive.settle()
        elif what == "wait":
            hive.wait(number * 40)
        elif known:
            wish = {
                "scale": ScaleApp(project="default", name=name, replicas=number + 2),
                "delete": DeleteApp(project="default", name=name),
                "pause": PauseApp(project="default", name=name),
            }[what]
            hive.count += 1
            hive.time += 10
            hive.state.apply(hive.state.sequence + 1, hive.time, [Signed("admin-key", str(hive.count), wish)])
    return hive


def followed(before: dict[str, dict[str, object]], changes: list[Change]) -> dict[str, dict[str, object]]:
    """What somebody knows who only hears of changes."""
    for change in changes:
        assert before[change.table].get(change.key) == change.old
        if change.new is None:
            del before[change.table][change.key]
        else:
            before[change.table][change.key] = change.new
    return before


@settings(max_examples=40, deadline=None)
@given(mine=STEPS, theirs=STEPS, after=STEPS)
def test_it_equals_a_restored_one_in_everything_that_follows(
    mine: list[tuple[str, int]], theirs: list[tuple[str, int]], after: list[tuple[str, int]]
) -> None:
    own, other = walk(Hive(nodes=1), mine), walk(Hive(nodes=3), theirs)
    other.state.hive = "the-other"
    snapshot = other.state.snapshot()
    tables = {name: getattr(own.state, name) for name in ("apps", "allocations", "replies")}
    known = own.state.tables.copies()

    own.state.take_over(snapshot)

    assert followed(known, list(own.state.changes)) == other.state.tables.copies()
    assert all(getattr(own.state, name) is table for name, table in tables.items())
    restored = Hive(nodes=0)
    restored.state = State.restore(snapshot)
    for hive in (own, restored):
        hive.time, hive.count = other.time, other.count
    assert own.state.digest() == restored.state.digest() == other.state.digest()
    assert own.state.deadline() == restored.state.deadline()
    assert own.state.snapshot() == snapshot
    for hive in (own, restored):
        walk(hive, after)
    assert own.state.digest() == restored.state.digest()
    assert own.state.deadline() == restored.state.deadline()
    assert own.state.snapshot() == restored.state.snapshot()


def test_it_replaces_a_long_story_by_another_one() -> None:
    own, other = story(Hive(nodes=5)), story(Hive(nodes=2))
    own.state.take_over(other.state.snapshot())
    for hive in (own, other):
        hive.time, hive.count = other.time, other.count
    for hive in (own, other):
        hive.deploy("app-1", replicas=4, image="web:3")
        hive.settle()
    assert own.state.digest() == other.state.digest()
    assert own.state.uses() == other.state.uses()


def test_what_cannot_be_read_changes_nothing() -> None:
    hive = story(Hive(nodes=2))
    before, noted = hive.state.snapshot(), list(hive.state.changes)
    for broken in (b"", b"{}", before[: len(before) // 2]):
        with pytest.raises(Exception, match=r"."):
            hive.state.take_over(broken)
    assert hive.state.snapshot() == before and list(hive.state.changes) == noted
