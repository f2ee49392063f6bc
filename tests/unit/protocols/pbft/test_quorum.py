"""How many voters must say a thing, for every size of a hive."""

from __future__ import annotations

import pytest

from hivemind.protocols.pbft.quorum import faulty, quorum, weak


@pytest.mark.parametrize(
    ("n", "f", "q", "crashes"),
    [
        (1, 0, 1, 0),
        (2, 0, 2, 0),
        (3, 0, 2, 1),
        (4, 1, 3, 1),
        (5, 1, 4, 1),
        (6, 1, 4, 2),
        (7, 2, 5, 2),
        (10, 3, 7, 3),
        (13, 4, 9, 4),
    ],
)
def test_table(n: int, f: int, q: int, crashes: int) -> None:
    assert (faulty(n), quorum(n), weak(n), n - quorum(n)) == (f, q, f + 1, crashes)


@pytest.mark.parametrize("n", range(1, 200))
def test_two_quorums_share_an_honest_voter_and_the_honest_are_a_quorum(n: int) -> None:
    assert 2 * quorum(n) - n >= weak(n)
    assert quorum(n) <= n - faulty(n)
    assert 2 * (quorum(n) - 1) - n < weak(n), "one less would not do"
