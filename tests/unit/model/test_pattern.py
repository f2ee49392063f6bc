"""Patterns for logs: as Python's own where both understand, and never slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.errors import Invalid
from hivemind.model.pattern import Pattern

_ATOMS = st.sampled_from(
    ["a", "b", "c", ".", "[ab]", "[^a]", r"\d", r"\w", r"\s", r"\b", "^", "$", " ", "_", "1"]
)


def _patterns() -> st.SearchStrategy[str]:
    def more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.lists(inner, min_size=1, max_size=3).map("".join),
            st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
            st.tuples(inner, st.sampled_from(["*", "+", "?", "{1,2}", "{2}", "*?"])).map(
                lambda two: f"(?:{two[0]}){two[1]}"
            ),
        )

    return st.recursive(_ATOMS, more, max_leaves=8)


@given(_patterns(), st.lists(st.text("abc1_ ", max_size=12), max_size=4))
@settings(max_examples=400, deadline=None)
def test_it_finds_what_pythons_own_finds(pattern: str, texts: list[str]) -> None:
    mine, theirs = Pattern(pattern), re.compile(pattern.replace("$", r"\Z"))
    for text in texts:
        assert mine.found_in(text) == bool(theirs.search(text)), (pattern, text)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){20}$", "(a?){50}a{50}$", "((((a*)*)*)*)*$"])
def test_evil_patterns_take_no_longer(pattern: str) -> None:
    found = Pattern(pattern)
    began = time.process_time()
    found.found_in("a" * 5000 + "!")
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "pattern", ["(", ")", "a)", "[a", "*", "a|*", "(?=a)", r"\1", r"\q", "a{2000}", "((a{100}){100}){100}", "x" * 1001,
                "[z-a]", "\\", "a{3,2}"],
)  # fmt: skip
def test_what_is_not_understood_is_refused(pattern: str) -> None:
    with pytest.raises(Invalid):
        Pattern(pattern)


def test_cases_and_ordinary_braces() -> None:
    assert Pattern("(?i)error|warn").found_in("An ErRor")
    assert not Pattern("error").found_in("An ErRor")
    assert Pattern("(?i)[a-c]x").found_in("BX")
    assert Pattern('{"level":').found_in('{"level": 3}')
    assert Pattern("[]a]").found_in("]") and Pattern("[a-]").found_in("-")
    assert Pattern("").found_in("") and Pattern("^$").found_in("")
