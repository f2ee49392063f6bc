"""The combinations of a matrix."""

from __future__ import annotations

import pytest

from hivemind.errors import Invalid
from hivemind.jobs.matrix import combinations

VALUES = {"os": ["linux", "mac"], "py": [11, 12]}


def test_all_of_them_the_last_name_fastest() -> None:
    assert combinations(VALUES) == [
        {"os": "linux", "py": 11}, {"os": "linux", "py": 12}, {"os": "mac", "py": 11}, {"os": "mac", "py": 12},
    ]  # fmt: skip


def test_some_are_left_out() -> None:
    assert combinations(VALUES, exclude=[{"os": "mac", "py": 11}, {"os": "linux"}]) == [
        {"os": "mac", "py": 12}
    ]


def test_some_get_more_and_what_fits_none_is_one_of_its_own() -> None:
    include = [{"color": "green"}, {"os": "mac", "fast": True}, {"os": "bsd", "py": 12}]
    assert combinations(VALUES, include, exclude=[{"py": 12}]) == [
        {"os": "linux", "py": 11, "color": "green"},
        {"os": "mac", "py": 11, "color": "green", "fast": True},
        {"os": "bsd", "py": 12},
    ]


def test_only_included_ones() -> None:
    assert combinations({}, [{"a": 1}, {"a": 2}]) == [{"a": 1}, {"a": 2}]


def test_nothing_and_too_much() -> None:
    assert combinations({"a": [], "b": [1]}) == []
    with pytest.raises(Invalid, match="a matrix of 1,000,000 combinations is too large"):
        combinations({"a": range(1000), "b": range(1000)})
