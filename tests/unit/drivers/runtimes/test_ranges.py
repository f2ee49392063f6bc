"""Ranges of user ids: none twice, none that others have."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind.drivers.runtimes.oci.idmap import SIZE
from hivemind.drivers.runtimes.oci.ranges import DEFAULT, STRIDE, Ranges, parse
from hivemind.errors import Invalid, Unavailable

FIRST = 1_000_000
FIVE = (FIRST, FIRST + 5 * STRIDE - 1)


def test_each_has_its_own_and_keeps_it() -> None:
    ranges = Ranges(FIVE)
    firsts = {ranges.give(str(number)).first for number in range(5)}
    assert len(firsts) == 5 and ranges.give("3") == ranges.give("3")
    with pytest.raises(Unavailable, match="all 5 ranges"):
        ranges.give("one more")
    ranges.take_back("2")
    ranges.take_back("2")
    assert ranges.give("one more").first in firsts


def test_what_others_have_is_left_out() -> None:
    taken = [
        (0, 70_000),
        (FIRST + STRIDE - 1, FIRST + STRIDE),
        (FIRST + 4 * STRIDE, 2**32),
        (2**32 - 2, 2**32 - 2),
    ]
    ranges = Ranges(FIVE, taken, start=17)
    assert {ranges.give(str(number)).first for number in range(2)} == {FIRST + 2 * STRIDE, FIRST + 3 * STRIDE}
    with pytest.raises(Unavailable, match="all 2 ranges"):
        ranges.give("one more")


def test_what_an_earlier_daemon_gave_by_another_setting() -> None:
    old = Ranges((FIRST - 100, FIRST + 5 * STRIDE)).give("old")
    ranges = Ranges(FIVE)
    ranges.keep("old", old)
    for number in range(4):
        first = ranges.give(str(number)).first
        assert abs(first - old.first) >= STRIDE
    ranges.take_back("old")
    assert ranges.give("new").first == FIRST


def test_one_left_over_that_lies_elsewhere() -> None:
    ranges = Ranges(FIVE)
    ranges.keep("old", Ranges((70_000, 70_000 + STRIDE)).give("old"))
    assert len({ranges.give(str(number)) for number in range(5)}) == 5


@given(st.lists(st.tuples(st.sampled_from("abcdefghij"), st.booleans()), max_size=60), st.integers(0, 10**6))
def test_no_two_ever_overlap(steps: list[tuple[str, bool]], start: int) -> None:
    ranges = Ranges((FIRST, FIRST + 12 * STRIDE), [(FIRST + 3 * STRIDE, FIRST + 3 * STRIDE)], start)
    held: dict[str, int] = {}
    for id, give in steps:
        if give:
            held[id] = ranges.give(id).first
        else:
            ranges.take_back(id)
            held.pop(id, None)
        firsts = sorted(held.values())
        assert all(later - earlier >= STRIDE for earlier, later in pairwise(firsts))


def test_settings() -> None:
    assert parse("off") is None
    first, last = parse(DEFAULT) or (0, 0)
    assert (first, last) == (0x70000000, 0x7FFDFFFF) and (last - first) // STRIDE > 4000


@pytest.mark.parametrize(
    "text", ["", "on", "5-", "100000-100001", f"{SIZE - 1}-999999", "4000000000-4294967295", "9-3"]
)
def test_settings_that_will_not_do(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text)
