"""What a quorum has of a log, though its members are never at the same length of it."""

from __future__ import annotations

import pytest

from hivemind.protocols.autobee.attesting import (
    Attested,
    Certified,
    certified,
    decode_attested,
    encode_attested,
    marks,
)
from hivemind.protocols.autobee.tree import Peaks, leaf


def log(length: int, word: bytes = b"") -> Peaks:
    peaks = Peaks()
    for number in range(length):
        peaks.append(0, leaf(word + b"%d" % number))
    return peaks


def said(length: int, *, grain: int = 2, fork: int = 1, word: bytes = b"") -> tuple[Attested, ...]:
    return (Attested("w", fork, marks(log(length, word), grain)),)


@pytest.mark.parametrize("length", [0, 1, 4, 7, 100, 1023, 1024])
def test_prefixes_are_roots_that_the_log_had(length: int) -> None:
    for shorter, root in log(length).prefixes():
        assert root == log(shorter).root()
    assert [at for at, _ in marks(log(length), 2)] == [
        at for at, _ in log(length).prefixes() if at and at % 4 == 0
    ]


def test_voters_at_different_lengths_meet_in_a_prefix() -> None:
    found = certified({"a": said(100), "b": said(103), "c": said(111), "d": said(64)}, 3)
    assert found == (Certified("w", 1, 96, log(96).root()),)
    [lower] = certified({"a": said(70), "b": said(103), "c": said(67)}, 3)
    assert lower.length == 64


def test_neither_too_few_nor_one_that_says_it_often_nor_another_root_nor_an_older_fork() -> None:
    assert certified({"a": said(64), "b": said(64)}, 3) == ()
    assert certified({"a": said(64) * 3, "b": ()}, 2) == ()
    assert certified({"a": said(64), "b": said(64, word=b"x")}, 2) == ()
    assert certified({"a": said(64), "b": said(64, fork=2)}, 2) == ()
    both = {"a": (*said(64), *said(32, fork=2)), "b": (*said(64), *said(32, fork=2))}
    assert [(each.fork, each.length) for each in certified(both, 2)] == [(2, 32)]


def test_what_cannot_be_read_says_nothing() -> None:
    assert decode_attested(encode_attested(said(64))) == said(64)
    assert decode_attested(b"\xff") == decode_attested(b"") == ()


def test_of_a_very_long_log_both_ends_are_attested() -> None:
    peaks = Peaks((1 << 20) - 1, [bytes(32)] * 20)
    found = [length for length, _ in marks(peaks, 0)]
    assert len(found) == 8
    assert (found[0], found[-1]) == (1 << 19, (1 << 20) - 1)
