"""Epochs: voters come and go at agreed boundaries."""

from __future__ import annotations

import pytest

from hivemind.errors import Invalid
from hivemind.model.hive import Epoch
from hivemind.protocols.pbft.epochs import Epochs, handover
from hivemind.protocols.pbft.wire import Boundary, Checkpoint, CheckpointCertificate, Next
from unit.protocols.pbft.world import Key, epoch, signatures


def boundary(before: Epoch, after: Epoch, signers: str) -> Boundary:
    body = Checkpoint(after.since - 1, b"d" * 32, Next.of(after))
    pairs = tuple(
        (name, signatures().sign(Key(name), before.number, body).signature) for name in sorted(signers)
    )
    return Boundary(CheckpointCertificate(before.number, body, pairs))


ALONE = epoch("A")
PAIR = epoch("AB", number=1, since=10)
FOUR = epoch("ABCD", number=2, since=30)


def test_the_chain_begins_with_one_who_hands_over_alone() -> None:
    link = handover(Key("A"), ALONE, 9, b"d" * 32, PAIR, signatures())
    epochs = Epochs(ALONE, [link], signatures=signatures())
    assert epochs.current == PAIR
    assert epochs.extend(boundary(PAIR, FOUR, "AB")) == FOUR
    deciding = [epochs.deciding(at) for at in (0, 1, 9, 10, 29, 30, 1000)]
    assert deciding == [None, ALONE, ALONE, PAIR, PAIR, FOUR, FOUR]
    assert epochs.after(0) == (link, epochs.boundary)
    assert epochs.after(1) == (epochs.boundary,)
    assert [epochs.numbered(at) for at in (-1, 0, 2, 3)] == [None, ALONE, FOUR, None]


def test_nobody_else_hands_over_alone() -> None:
    with pytest.raises(Invalid):
        handover(Key("A"), PAIR, 29, b"d" * 32, FOUR, signatures())
    with pytest.raises(Invalid):
        handover(Key("A"), ALONE, 8, b"d" * 32, PAIR, signatures())


@pytest.mark.parametrize(
    "link",
    [
        pytest.param(boundary(PAIR, FOUR, "A"), id="too few"),
        pytest.param(boundary(PAIR, FOUR, "ABC"), id="signed by new voters, too"),
        pytest.param(boundary(PAIR, epoch("ABCD", number=3, since=30), "AB"), id="a number left out"),
        pytest.param(boundary(PAIR, epoch("", number=2, since=30), "AB"), id="nobody votes"),
        pytest.param(boundary(PAIR, Epoch(number=2, since=30, voters=("B", "A")), "AB"), id="not sorted"),
        pytest.param(boundary(PAIR, epoch("ABCD", number=2, since=10), "AB"), id="before it began"),
        pytest.param(boundary(ALONE, PAIR, "A"), id="the same again"),
    ],
)
def test_a_link_that_does_not_hold_is_refused(link: Boundary) -> None:
    epochs = Epochs(ALONE, [boundary(ALONE, PAIR, "A")], signatures=signatures())
    assert epochs.extend(link) is None
    assert epochs.current == PAIR
    with pytest.raises(Invalid, match="breaks after epoch 1"):
        Epochs(ALONE, [boundary(ALONE, PAIR, "A"), link], signatures=signatures())
