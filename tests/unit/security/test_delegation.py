"""What a delegation is good for: once, soon, for whom it names."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from hivemind.errors import Unauthenticated, Unavailable
from hivemind.security import delegation
from hivemind.security.delegation import Delegation, Delegations, delegate
from hivemind.security.identity import Identity
from hivemind.security.statement import Statement

PERSON = Identity(b"p" * 32)
WISH = Delegation("GET", "/v1/stats?app=web", "near", "far", 1_000_000, "n1")


def accept(known: Delegations, shown: Statement, **changed: Any) -> Delegation:
    given: dict[str, Any] = {"hive": "bees", "asker": "near", "now": 1_000_000, **changed}
    return known.accept(shown, **given)


def test_it_is_good_for_what_it_says_and_once() -> None:
    known, shown = Delegations("far"), delegate(PERSON, "bees", WISH)
    assert accept(known, shown) == WISH
    with pytest.raises(Unauthenticated, match="before"):
        accept(known, shown)
    assert accept(known, delegate(PERSON, "bees", replace(WISH, nonce="n2"))).nonce == "n2"


@pytest.mark.parametrize(
    "changed", [{"hive": "wasps"}, {"asker": "other"}, {"now": 1_060_001}, {"now": 939_999}]
)
def test_not_for_another_hive_node_or_time(changed: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        accept(Delegations("far"), delegate(PERSON, "bees", WISH), **changed)


def test_no_byte_of_it_can_be_changed() -> None:
    shown = delegate(PERSON, "bees", WISH)
    for position in range(len(shown.body)):
        body = bytearray(shown.body)
        body[position] ^= 1
        with pytest.raises(Unauthenticated):
            accept(Delegations("far"), replace(shown, body=bytes(body)))


def test_it_is_remembered_as_long_as_it_could_be_shown_again() -> None:
    known = Delegations("far")
    shown = delegate(PERSON, "bees", replace(WISH, time=1_050_000))
    accept(known, shown)
    for now in (1_000_001, 1_050_000, 1_110_000):
        with pytest.raises(Unauthenticated, match="before"):
            accept(known, shown, now=now)
    with pytest.raises(Unauthenticated, match="too long ago"):
        accept(known, shown, now=1_110_001)


def test_more_than_can_be_remembered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delegation, "_REMEMBERED", 3)
    known = Delegations("far")
    for number in range(3):
        accept(known, delegate(PERSON, "bees", replace(WISH, nonce=str(number))))
    with pytest.raises(Unavailable):
        accept(known, delegate(PERSON, "bees", replace(WISH, nonce="more")))
    later = replace(WISH, nonce="more", time=1_200_000)
    assert accept(known, delegate(PERSON, "bees", later), now=1_200_000)


def test_a_node_that_asks_without_end_keeps_no_other_from_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delegation, "_OF_ONE", 3)
    known, mole = Delegations("far"), Identity(b"m" * 32)
    for number in range(3):
        accept(known, delegate(mole, "bees", replace(WISH, nonce=str(number))))
    with pytest.raises(Unavailable):
        accept(known, delegate(mole, "bees", replace(WISH, nonce="more")))
    assert accept(known, delegate(PERSON, "bees", replace(WISH, asker="other")), asker="other")
    later = replace(WISH, nonce="more", time=1_200_000)
    assert accept(known, delegate(mole, "bees", later), now=1_200_000)


def test_none_takes_more_memory_than_it_may() -> None:
    with pytest.raises(Unauthenticated, match="cannot be read"):
        accept(Delegations("far"), delegate(PERSON, "bees", replace(WISH, nonce="n" * 10_000)))
