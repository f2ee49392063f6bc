"""Votes that must not be forgotten: whole and in order, or known to be lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.errors import Corrupt, Unavailable
from hivemind.ledger.log import Log
from hivemind.ledger.records import Beside, Kept

BODIES = [f"vote {number}".encode() for number in range(8)]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    made = Log(tmp_path / "ledger.db")
    for body in BODIES:
        made.keep(Beside(records=[Kept(body)]))
    return made


@settings(max_examples=25, deadline=None)
@given(
    groups=st.lists(
        st.lists(st.tuples(st.binary(max_size=20), st.booleans()), min_size=1, max_size=4), max_size=6
    )
)
def test_they_come_back_as_they_were_kept(tmp_path_factory: pytest.TempPathFactory, groups: list) -> None:  # type: ignore[type-arg]
    path = tmp_path_factory.mktemp("log") / "ledger.db"
    log = Log(path)
    expected: list[bytes] = []
    for group in groups:
        log.keep(Beside(records=[Kept(body, replaces) for body, replaces in group]))
        for body, replaces in group:
            expected = [body] if replaces else [*expected, body]
    log.close()
    again = Log(path)
    assert again.recall() == expected
    again.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE record SET body = x'00' WHERE number = 4",
        "UPDATE record SET sum = x'00' WHERE number = 4",
        "DELETE FROM record WHERE number = 4",
        "DELETE FROM record WHERE number = 1",
        "DELETE FROM record WHERE number >= 8",
        "DELETE FROM record",
        "DELETE FROM record_head",
        "UPDATE record SET number = 9 WHERE number = 8",
    ],
)
def test_any_damage_is_noticed_until_all_are_replaced(log: Log, damage: str) -> None:
    assert log.recall() == BODIES
    log._db.execute(damage)
    with pytest.raises(Corrupt) as refusal:
        log.recall()
    assert "votes again" in refusal.value.hint
    log.keep(Beside(records=[Kept(b"late")]))
    with pytest.raises(Corrupt):
        log.recall()
    log.keep(Beside(records=[Kept(b"anew", replaces=True), Kept(b"next")]))
    assert log.recall() == [b"anew", b"next"]


def test_a_full_disk_keeps_all_or_nothing_of_a_group(log: Log) -> None:
    pages = log._db.execute("PRAGMA page_count").fetchone()[0]
    log._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(Unavailable, match="full"):
        log.keep(Beside(records=[Kept(b"x" * 5000), Kept(b"y" * 5000)]))
    assert log.recall() == BODIES
    log._db.execute("PRAGMA max_page_count=100000")
    log.keep(Beside(records=[Kept(b"z" * 5000)]))
    assert log.recall() == [*BODIES, b"z" * 5000]
