"""Coordinates predict round trips, and a liar spoils only what concerns itself."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.protocols import vivaldi
from hivemind.protocols.vivaldi import Coordinate, Vivaldi, decode, distance, encode

Places = list[tuple[float, float, float]]
"""Two dimensions and a height, in seconds."""


def places(count: int, seed: int) -> Places:
    dice = random.Random(f"places {seed}")
    return [(dice.uniform(0, 0.05), dice.uniform(0, 0.05), dice.uniform(0.0005, 0.003)) for _ in range(count)]


def real(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    return math.dist(a[:2], b[:2]) + a[2] + b[2]


def settle(at: Places, rounds: int, seed: int, liars: frozenset[int] = frozenset()) -> list[Vivaldi]:
    """Everybody measures somebody at random, with some noise; liars say that they are anywhere, and sure of it."""
    dice = random.Random(f"settle {seed}")
    nodes = [Vivaldi(random.Random(f"{seed} {number}")) for number in range(len(at))]
    for _ in range(rounds):
        for number, node in enumerate(nodes):
            other = dice.randrange(len(at))
            if other == number:
                continue
            claim = nodes[other].coordinate
            if other in liars:
                claim = Coordinate(tuple(dice.uniform(-10, 10) for _ in range(3)), dice.uniform(0, 10), 0.0)
            busy = 0.2 if dice.random() < 0.05 else 0.0
            node.observe(str(other), real(at[number], at[other]) * dice.uniform(1, 1.1) + busy, claim)
    return nodes


def wrong(at: Places, nodes: list[Vivaldi], liars: frozenset[int] = frozenset()) -> float:
    """The median share by which the distances between honest nodes are wrong."""
    honest = [number for number in range(len(at)) if number not in liars]
    return statistics.median(
        abs(distance(nodes[a].coordinate, nodes[b].coordinate) - real(at[a], at[b])) / real(at[a], at[b])
        for a in honest
        for b in honest
        if a < b
    )


@pytest.mark.parametrize("seed", range(3))
def test_round_trips_are_predicted(seed: int) -> None:
    at = places(20, seed)
    nodes = settle(at, 400, seed)
    assert wrong(at, nodes) < 0.15
    assert statistics.median(node.coordinate.error for node in nodes) < 0.3


@pytest.mark.parametrize("seed", range(3))
def test_a_fifth_of_liars_does_not_spoil_the_others(seed: int) -> None:
    at = places(20, seed)
    liars = frozenset(range(4))
    assert wrong(at, settle(at, 400, seed, liars), liars) < 0.5


def test_two_at_the_same_place_part() -> None:
    a, b = Vivaldi(random.Random(1)), Vivaldi(random.Random(2))
    for _ in range(200):
        a.observe("b", 0.02, b.coordinate)
        b.observe("a", 0.02, a.coordinate)
    assert distance(a.coordinate, b.coordinate) == pytest.approx(0.02, rel=0.05)


def test_one_measurement_moves_by_no_more_than_a_quarter_of_it() -> None:
    node = Vivaldi(random.Random(1))
    before = node.coordinate
    assert node.observe("liar", 0.01, Coordinate((10.0, 10.0, 10.0), 10.0, 0.0))
    moved = math.dist(before.position, node.coordinate.position) + abs(before.height - node.coordinate.height)
    assert 0 < moved <= 0.25 * 0.01 + 1e-9


@pytest.mark.parametrize("round_trip", [0.0, -1.0, 11.0, math.nan, math.inf])
def test_round_trips_beyond_reason_count_for_nothing(round_trip: float) -> None:
    node = Vivaldi(random.Random(1))
    assert not node.observe("b", round_trip, Coordinate())
    assert node.coordinate == Coordinate()


def test_coordinates_travel_in_twenty_bytes() -> None:
    coordinate = Coordinate((0.5, -0.25, 0.125), 0.0625, 0.75)
    assert len(encode(coordinate)) == 20
    assert decode(encode(coordinate)) == coordinate


@pytest.mark.parametrize(
    "coordinate",
    [
        Coordinate((math.nan, 0, 0)),
        Coordinate((0, math.inf, 0)),
        Coordinate((0, 0, 11.0)),
        Coordinate(height=-1.0),
        Coordinate(error=-1.0),
        Coordinate(error=math.nan),
    ],
)
def test_coordinates_beyond_reason_are_none(coordinate: Coordinate) -> None:
    assert decode(encode(coordinate)) is None


@given(st.binary(max_size=40))
def test_any_bytes_are_a_believable_coordinate_or_none(encoded: bytes) -> None:
    coordinate = decode(encoded)
    assert coordinate is None or 0 < distance(coordinate, Coordinate()) < 30


@settings(max_examples=50)
@given(st.lists(st.tuples(st.binary(min_size=20, max_size=20), st.floats(-1, 12)), max_size=60))
def test_whatever_is_said_the_own_coordinate_stays_believable(said: list[tuple[bytes, float]]) -> None:
    node = Vivaldi(random.Random(1))
    for encoded, round_trip in said:
        if (claim := decode(encoded)) is not None:
            node.observe("x", round_trip, claim)
        assert decode(encode(node.coordinate)) is not None


def test_samples_are_bounded() -> None:
    node = Vivaldi(random.Random(1))
    for number in range(3_000):
        node.observe(str(number), 0.01, Coordinate())
    assert len(node._samples) == vivaldi._PEERS
    node.forget("2999")
    assert len(node._samples) == vivaldi._PEERS - 1
