"""Snapshots in parts: each is checked on its own, and nothing is sent that is there already."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from hive import Hive
from hivemind.errors import Corrupt
from hivemind.ledger import parts
from hivemind.ledger.parts import Assembly, Manifest, Source, attested
from hivemind.state.state import State
from unit.state.test_determinism import story

HEAD = b"h" * 32


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_SIZE", 500)


def assembled(assembly: Assembly, source: Source) -> int:
    """How many parts it took."""
    sent = list(source.parts(assembly.missing()))
    for part in sent:
        assembly.add(part)
    assert assembly.missing() == []
    return len(sent)


def test_a_state_arrives_whole_and_is_the_certified_one() -> None:
    state = story(Hive(nodes=4)).state
    source = Source(state.snapshot(), HEAD)
    assert source.manifest.digest() == attested(state, HEAD)
    assembly = Assembly(source.manifest)
    assert assembled(assembly, source) > 10
    arrived = State.restore(assembly.snapshot())
    assert arrived.digest() == state.digest()
    assert attested(arrived, HEAD) == attested(state, HEAD)
    assert (arrived.sequence, arrived.time, arrived.serial) == (state.sequence, state.time, state.serial)


def test_what_did_not_change_is_not_sent_again() -> None:
    hive = story(Hive(nodes=4))
    own = hive.state.tables.copies()
    everything = assembled(
        Assembly(Source(hive.state.snapshot(), HEAD).manifest), Source(hive.state.snapshot(), HEAD)
    )
    hive.deploy("one-more")
    source = Source(hive.state.snapshot(), HEAD)
    assembly = Assembly(source.manifest, own)
    assert 0 < len(assembly.missing()) < 100
    assert assembled(assembly, source) < everything / 2
    assert State.restore(assembly.snapshot()).digest() == hive.state.digest()


def test_it_goes_on_with_a_newer_state_where_it_stopped() -> None:
    hive = story(Hive(nodes=4))
    older = Source(hive.state.snapshot(), HEAD)
    assembly = Assembly(older.manifest)
    sent = list(older.parts(assembly.missing()))
    for part in sent[: len(sent) // 2]:
        assembly.add(part)
    hive.deploy("one-more")
    newer = Source(hive.state.snapshot(), HEAD)
    before = len(assembly.missing())
    assembly.retarget(newer.manifest)
    assert len(assembly.missing()) < before + 100
    assembled(assembly, newer)
    assert State.restore(assembly.snapshot()).digest() == hive.state.digest()


def test_a_part_that_was_tampered_with_is_refused_and_the_rest_stays() -> None:
    state = story(Hive(nodes=4)).state
    other = story(Hive(nodes=2)).state
    source, wrong = Source(state.snapshot(), HEAD), Source(other.snapshot(), HEAD)
    assembly = Assembly(source.manifest)
    good = list(source.parts(assembly.missing()))
    assembly.add(good[0])
    missing = assembly.missing()
    dice = random.Random(3)
    forged = [
        replace(good[1], rows=good[2].rows),
        replace(good[1], rows=b""),
        replace(good[1], rows=good[1].rows[:-3]),
        replace(good[1], partitions=good[1].partitions[1:]),
        replace(good[1], partitions=(*good[1].partitions, 99_999)),
        replace(good[1], partitions=(-1,), rows=good[1].rows),
        *(part for part in wrong.parts(dice.sample(missing, 20)) if part.rows != good[0].rows),
    ]
    refused = 0
    for part in forged:
        try:
            assembly.add(part)
        except Corrupt:
            refused += 1
    assert refused >= 7
    assembled(assembly, source)
    assert State.restore(assembly.snapshot()).digest() == state.digest()


def test_a_bomb_is_not_unpacked() -> None:
    import zlib

    source = Source(story(Hive(nodes=1)).state.snapshot(), HEAD)
    bomb = zlib.compress(bytes(10 * 2**20), 9)
    with pytest.raises(Corrupt, match="larger than it may be"):
        replace(source.manifest, hashes=bomb).digest()


@pytest.mark.parametrize("field", ["hive", "sequence", "time", "serial", "head", "hashes"])
def test_nothing_in_a_manifest_can_be_changed(field: str) -> None:
    source = Source(story(Hive(nodes=2)).state.snapshot(), HEAD)
    other = Source(story(Hive(nodes=3)).state.snapshot(), bytes(32))
    changed: Manifest = replace(
        source.manifest, **{field: getattr(replace(other.manifest, hive="another"), field)}
    )
    if getattr(changed, field) != getattr(source.manifest, field):
        assert changed.digest() != source.manifest.digest()
    else:
        assert field in ("sequence", "time", "serial")
