"""The checker of histories, on histories whose answer is known."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.sim.linearizability import FOREVER, Operation, first_contradiction, linearizable


def put(called: int, answered: int, value: str, client: str = "a", key: str = "k") -> Operation:
    return Operation(client=client, key=key, kind="put", called=called, answered=answered, value=value)


def get(called: int, answered: int, result: str | None, client: str = "b", key: str = "k") -> Operation:
    return Operation(client=client, key=key, kind="get", called=called, answered=answered, result=result)


def cas(called: int, answered: int, expected: str | None, value: str, result: bool) -> Operation:
    return Operation(
        client="c", key="k", kind="cas", called=called, answered=answered,
        expected=expected, value=value, result=result,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("history", "answer"),
    [
        ([], True),
        ([put(0, 1, "x"), get(2, 3, "x")], True),
        ([put(0, 1, "x"), get(2, 3, None)], False),  # a stale read
        ([put(0, 9, "x"), get(1, 2, None), get(3, 4, "x")], True),  # it took effect between them
        ([put(0, 9, "x"), get(1, 2, "x"), get(3, 4, None)], False),  # it took effect and was taken back
        ([put(0, FOREVER, "x"), get(5, 6, "x")], True),  # never answered, and done
        ([put(0, FOREVER, "x"), get(5, 6, None)], True),  # never answered, and not done
        ([put(0, FOREVER, "x"), get(5, 6, "x"), get(7, 8, None)], False),
        ([get(0, 1, "x"), put(2, 3, "x")], False),  # read before it was written
        ([put(0, 1, "x"), put(2, 3, "y"), get(4, 5, "x")], False),  # a lost update
        ([put(0, 5, "x"), put(1, 6, "y"), get(7, 8, "x")], True),  # at once: either may be last
        ([put(0, 5, "x"), put(1, 6, "y"), get(7, 8, "x"), get(9, 10, "y")], False),
        ([cas(0, 5, None, "x", True), cas(1, 6, None, "y", True)], False),  # both won
        ([cas(0, 5, None, "x", True), cas(1, 6, None, "y", False)], True),
        ([cas(0, 1, None, "x", False)], False),  # refused without a reason
        ([cas(0, 1, None, "x", True), cas(2, 3, "x", "y", True), get(4, 5, "y")], True),
    ],
)
def test_histories(history: list[Operation], answer: bool) -> None:
    for order in permutations(history):
        assert linearizable(order) is answer


def test_keys_are_independent_and_the_wrong_one_is_named() -> None:
    history = [put(0, 1, "x", key="good"), put(0, 1, "x", key="bad"), get(2, 3, None, key="bad")]
    assert first_contradiction(history) == "bad"


@settings(max_examples=60, deadline=None)
@given(
    moments=st.lists(
        st.tuples(st.sampled_from("pgc"), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12
    ),
    lie=st.booleans(),
)
def test_what_was_made_one_after_the_other_is_linearizable(
    moments: list[tuple[str, int, int]], lie: bool
) -> None:
    """Each takes effect at its own moment, and is called before and answered after it; a value that was never
    written is a lie."""
    value: str | None = None
    history = []
    for number, (kind, before, after) in enumerate(moments):
        called, answered = 10 * number - 10 * before, 10 * number + 10 * after + 1
        if kind == "p":
            value = str(number)
            history.append(put(called, answered, value))
        elif kind == "g":
            history.append(get(called, answered, value))
        else:
            history.append(cas(called, answered, value, str(number), True))
            value = str(number)
    if lie:
        history.append(get(500, 501, "never"))
    assert linearizable(history) is not lie


def test_many_operations_at_once_are_judged_quickly() -> None:
    history = [put(0, 1_000, str(number)) for number in range(12)] + [get(1_001, 1_002, "never")]
    assert not linearizable(history)
