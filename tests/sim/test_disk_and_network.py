"""Disks that lose and tear, links that are bad in every way they were told to be, clocks that are wrong."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind.errors import Corrupt
from hivemind.protocols.machine import Persist
from hivemind.sim.clock import EPOCH, Clock
from hivemind.sim.disk import Log
from hivemind.sim.network import Network, Weather
from hivemind.sim.world import World


@given(
    records=st.lists(st.tuples(st.binary(max_size=20), st.booleans()), max_size=12),
    synced=st.integers(0, 12),
    seed=st.integers(0, 1_000),
)
def test_a_crash_leaves_what_was_synced_and_a_beginning_of_the_rest(
    records: list[tuple[bytes, bool]], synced: int, seed: int
) -> None:
    log, synced = Log(), min(synced, len(records))
    for record, replaces in records:
        log.write(Persist(record, replaces))
    log.sync(synced)
    log.crash(Random(seed))
    possible = [_replayed(records[:count]) for count in range(synced, len(records) + 1)]
    found = log.read()
    assert found in possible
    log.write(Persist(b"after"))
    log.sync(1)
    assert log.read() == [*found, b"after"], "a torn tail is in nobody's way"


def _replayed(records: list[tuple[bytes, bool]]) -> list[bytes]:
    held: list[bytes] = []
    for record, replaces in records:
        held = [record] if replaces else [*held, record]
    return held


def test_damage_is_told_from_a_torn_tail() -> None:
    for seed in range(50):
        log, dice = Log(), Random(seed)
        for record in (b"a vote", b"another", b"the last"):
            log.write(Persist(record))
        log.sync(2)
        log.tear(dice)
        assert log.read() == [b"a vote", b"another"]
        assert log.rot(dice)
        with pytest.raises(Corrupt):
            log.read()
    assert not Log().rot(Random(1)), "nothing was durable"


def test_records_are_torn_at_all_and_a_lost_disk_is_empty() -> None:
    torn = 0
    for seed in range(50):
        log = Log()
        log.write(Persist(b"a vote"))
        torn += log.crash(Random(seed))
    assert torn > 10
    log = Log()
    log.write(Persist(b"a vote"))
    log.sync(1)
    log.lose()
    assert log.read() == []


def _arrivals(weather: Weather, mtu: int | None = None, size: int = 1) -> list[int]:
    world = World(1)
    network = Network(world, weather, mtu=mtu)
    got: list[int] = []
    network.attach("b", lambda sender, message: got.append(message[0]))
    for number in range(100):
        world.at(number * 100, lambda number=number: network.send("a", "b", bytes([number]) * size))  # type: ignore[misc]
    world.run(10_000_000, lambda: None)
    return got


def test_links_lose_double_and_reorder() -> None:
    still = Weather(jitter=0)
    assert _arrivals(still) == list(range(100))
    assert 20 < len(_arrivals(Weather(jitter=0, loss=0.5))) < 80
    assert len(_arrivals(Weather(jitter=0, duplicate=1.0))) == 200
    reordered = _arrivals(Weather(jitter=0, reorder=0.3))
    assert sorted(reordered) == list(range(100)) and reordered != list(range(100))
    assert _arrivals(still, mtu=1_200, size=1_201) == []
    assert len(_arrivals(still, mtu=1_200, size=1_200)) == 100


def test_a_link_is_cut_one_way_and_mended_as_often_as_it_was_cut() -> None:
    world = World(1)
    network = Network(world, Weather())
    got: list[str] = []
    network.attach("a", lambda sender, message: got.append(f"a<{sender}"))
    network.attach("b", lambda sender, message: got.append(f"b<{sender}"))

    def both() -> list[str]:
        got.clear()
        network.send("a", "b", b"x")
        network.send("b", "a", b"x")
        world.run(world.now + 1_000_000, lambda: None)
        return sorted(got)

    network.cut("a", "b")
    network.cut("a", "b")
    assert both() == ["a<b"]
    network.mend("a", "b")
    assert both() == ["a<b"]
    network.mend("a", "b")
    assert both() == ["a<b", "b<a"]


@given(drift=st.integers(-5_000, 5_000), start=st.integers(0, 10**9), reading=st.integers(0, 10**9))
def test_an_alarm_is_never_early_by_the_clock_that_set_it(drift: int, start: int, reading: int) -> None:
    clock = Clock(drift=drift)
    clock.restart(start)
    time = clock.world_time(reading)
    assert clock.monotonic(time) >= reading > clock.monotonic(time - 1) - 1
    assert clock.monotonic(start) == 0


def test_wall_time_is_off_by_what_was_said() -> None:
    clock = Clock(offset=-5_000)
    clock.restart(2_000_000)
    assert clock.wall(1_000_000) == EPOCH + 3_000 - 5_000
