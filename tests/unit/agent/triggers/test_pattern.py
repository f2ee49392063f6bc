"""Patterns of files, walked name by name."""

from __future__ import annotations

import pytest

from hivemind.agent.triggers.pattern import Pattern
from hivemind.errors import Invalid


def means(pattern: str, path: str) -> bool:
    it = Pattern(pattern)
    place = it.top
    *folders, name = path.split("/")
    for folder in folders:
        place = it.below(place, folder)
        if not it.goes_on(place):
            return False
    return it.means(it.below(place, name))


@pytest.mark.parametrize(
    ("pattern", "path", "meant"),
    [
        ("*.csv", "a.csv", True),
        ("*.csv", "in/a.csv", False),
        ("*.csv", ".a.csv", False),
        (".*.csv", ".a.csv", True),
        ("in/*.csv", "in/a.csv", True),
        ("/in/./*.csv", "in/a.csv", True),
        ("in/*/[ab]?.txt", "in/x/a1.txt", True),
        ("in/*/[ab]?.txt", "in/x/c1.txt", False),
        ("**/*.csv", "a.csv", True),
        ("**/*.csv", "x/y/z/a.csv", True),
        ("**/*.csv", "x/.git/a.csv", False),
        ("in/**/done/*.csv", "in/done/a.csv", True),
        ("in/**/done/*.csv", "in/x/done/y/done/a.csv", True),
        ("in/**/done/*.csv", "in/x/a.csv", False),
        ("in/**", "in/x/a", True),
        ("in/**", "out/a", False),
        ("in", "in", True),
        ("In/a", "in/a", False),
    ],
)
def test_what_is_meant(pattern: str, path: str, meant: bool) -> None:
    assert means(pattern, path) is meant


@pytest.mark.parametrize("pattern", ["", "/", ".", "../x", "in/../../x", "a\0b"])
def test_what_leads_outside_is_refused(pattern: str) -> None:
    with pytest.raises(Invalid):
        Pattern(pattern)


def test_many_stars_cost_little() -> None:
    assert not means("/".join(["**"] * 50 + ["x"]), "/".join(["a"] * 50))
