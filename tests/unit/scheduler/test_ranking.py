"""The ranking, against a dict that is searched in full."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from hivemind.scheduler.ranking import Ranking, Remainder

SIZE = 12
positions = st.integers(0, SIZE - 1)
points = st.none() | st.integers(-3, 3)


def best(plain: dict[int, int], start: int, skip: set[int]) -> tuple[int, int] | None:
    left = [(p, position) for position, p in plain.items() if position not in skip]
    return max(left, key=lambda entry: (entry[0], -((entry[1] - start) % SIZE)), default=None)


@given(
    st.dictionaries(positions, st.integers(-3, 3)),
    st.lists(st.tuples(positions, points)),
    positions,
    st.sets(positions),
)
def test_it_agrees_with_a_full_search(
    initial: dict[int, int], changes: list[tuple[int, int | None]], start: int, skip: set[int]
) -> None:
    plain = dict(initial)
    ranking = Ranking(sorted(plain.items()))
    for position, value in changes:
        ranking.set(position, value)
        if value is None:
            plain.pop(position, None)
        else:
            plain[position] = value
    assert ranking.best(start, skip) == best(plain, start, skip)
    assert len(ranking) == len(plain)
    assert ranking.top() == max(plain.values(), default=None)


@given(
    st.dictionaries(positions, st.integers(-3, 3)),
    st.lists(st.tuples(positions, st.booleans())),
    st.integers(0, 4),
)
def test_a_remainder_agrees_with_a_full_search(
    plain: dict[int, int], searches: list[tuple[int, bool]], patience: int
) -> None:
    ranking, without = Ranking(sorted(plain.items())), set[int]()
    with mock.patch.object(Remainder, "PATIENCE", patience):
        remainder = Remainder(ranking, without)
        for start, leaves in searches:
            found = remainder.best(start)
            assert found == best(plain, start, without)
            if found and leaves:
                without.add(found[1])
                ranking.set(found[1], found[0] - 1)


def test_a_remainder_has_a_floor_too() -> None:
    remainder = Remainder(Ranking([(0, 5), (1, 3)]), {0})
    assert remainder.best(0, floor=4) is None
    assert remainder.best(0, floor=3) == (3, 1)


def test_the_floor_stops_the_search() -> None:
    ranking = Ranking([(0, 5), (1, 3)])
    assert ranking.best(0, {0}, floor=4) is None
    assert ranking.best(0, {0}, floor=3) == (3, 1)
