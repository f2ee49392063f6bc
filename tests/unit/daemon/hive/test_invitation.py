"""Join tokens as text: whole or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind.daemon.hive.invitation import PREFIX, Invitation, read
from hivemind.errors import Invalid

GOOD = Invitation(
    hive="h" * 16, name="office", secret=b"s" * 32, seed=b"k" * 32, role="worker",
    addresses=(("10.0.0.1", 7946), ("fd00::1", 7000)),
)  # fmt: skip


def test_what_was_written_is_read_again() -> None:
    assert read(GOOD.text()) == GOOD
    assert read(f"  {GOOD.text()[:40]}\n{GOOD.text()[40:]} ") == GOOD, "a terminal breaks lines"


def test_it_stays_short_however_many_addresses_there_are() -> None:
    many = Invitation(
        hive="h", name="n", secret=bytes(32), seed=bytes(32), role="member",
        addresses=tuple((f"10.0.0.{n}", 7946) for n in range(200)),
    )  # fmt: skip
    assert len(many.text()) < 600
    assert len(read(many.text()).addresses) == 8


@given(st.integers(0, len(GOOD.text()) - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_one_wrong_letter_is_noticed(place: int, letter: str) -> None:
    text = GOOD.text()
    wrong = text[:place] + letter + text[place + 1 :]
    if wrong != text:
        with pytest.raises(Invalid):
            read(wrong)


@pytest.mark.parametrize(
    "text", ["", PREFIX, "hm_abc", GOOD.text()[:-1], GOOD.text()[1:], "x" * 5000, PREFIX + "ü" * 40]
)
def test_anything_else_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(text)
    assert "cluster token create" in caught.value.hint
