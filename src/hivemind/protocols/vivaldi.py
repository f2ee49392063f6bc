"""Network coordinates: where a node is, so that the round trip to any other can be told without a ping.

Vivaldi (Dabek, Cox, Kaashoek, Morris, SIGCOMM 2004) in three dimensions and with a height, the part of each way
that cannot be avoided. Each measured round trip moves the node a little, as a spring between the two would
(section 2), the less the surer it is and the less sure the other one (section 2.5).

Practice asks for guards. Of a peer's last round trips the median counts: a busy loop delays some. Everything is
pulled gently to the origin, so that all coordinates together do not drift away. And a peer may lie: coordinates
outside of all reason are refused, nobody is believed to be surer than 5 %, and one measurement never moves a node
by more than a quarter of the round trip that it measured itself.
"""

from __future__ import annotations

import math
import struct
from collections import OrderedDict, deque

import msgspec

from hivemind.protocols.machine import Dice

DIMENSIONS = 3
FARTHEST = 10.0
"""Seconds. No round trip and no coordinate beyond it is believed."""
_LOWEST = 1e-5
"""Seconds: the least height, and the closest that two nodes are."""
_UNSURE = 1.5
_SUREST = 0.05
_ERROR_GAIN = 0.25
"""c_e of the paper: how fast the error estimate follows."""
_STEP = 0.25
"""c_c of the paper: how far towards where it should be a node goes at once."""
_GRAVITY = 150.0
"""Each time, the square of the distance from the origin over this is taken off that distance."""
_SAMPLES = 5
_PEERS = 1_024
_FORMAT = struct.Struct(f"!{DIMENSIONS + 2}f")
"""20 bytes: the position, the height, the error."""


class Coordinate(msgspec.Struct, frozen=True):
    """`position` and `height` in seconds; `error`: the share by which its distances are wrong, from 0 to 1.5."""

    position: tuple[float, ...] = (0.0,) * DIMENSIONS
    height: float = _LOWEST
    error: float = _UNSURE


def encode(coordinate: Coordinate) -> bytes:
    return _FORMAT.pack(*coordinate.position, coordinate.height, coordinate.error)


def decode(encoded: bytes) -> Coordinate | None:
    """None for what is none, or none that can be believed."""
    if len(encoded) != _FORMAT.size:
        return None
    *position, height, error = _FORMAT.unpack(encoded)
    if not all(math.isfinite(each) for each in (*position, height, error)):
        return None
    if max(map(abs, position)) > FARTHEST or not 0 <= height <= FARTHEST or not 0 <= error <= 2 * _UNSURE:
        return None
    return Coordinate(tuple(position), max(height, _LOWEST), min(error, _UNSURE))


def distance(a: Coordinate, b: Coordinate) -> float:
    """The expected round trip in seconds."""
    return max(_LOWEST, math.dist(a.position, b.position) + a.height + b.height)


class Vivaldi:
    """One node's own coordinate, moved by what it measures."""

    def __init__(self, dice: Dice) -> None:
        self.coordinate = Coordinate()
        self._dice = dice
        self._samples: OrderedDict[str, deque[float]] = OrderedDict()

    def observe(self, node: str, round_trip: float, other: Coordinate) -> bool:
        """A round trip in seconds to a node that says that it is at `other`. False: not to be believed."""
        if not 0 < round_trip <= FARTHEST:
            return False
        round_trip = max(self._median(node, round_trip), _LOWEST)
        mine = self.coordinate
        away = distance(mine, other)
        theirs = max(other.error, _SUREST)
        weight = mine.error / (mine.error + theirs)
        share = _ERROR_GAIN * weight
        wrong = min(abs(away - round_trip) / round_trip, _UNSURE)
        error = max(_SUREST, min(wrong * share + mine.error * (1 - share), _UNSURE))
        force = max(-round_trip, min(round_trip, round_trip - away)) * _STEP * weight
        self.coordinate = self._pulled(self._moved(mine, other, force, error))
        return True

    def forget(self, node: str) -> None:
        self._samples.pop(node, None)

    def _median(self, node: str, round_trip: float) -> float:
        samples = self._samples.setdefault(node, deque(maxlen=_SAMPLES))
        self._samples.move_to_end(node)
        if len(self._samples) > _PEERS:
            self._samples.popitem(last=False)
        samples.append(round_trip)
        return sorted(samples)[len(samples) // 2]

    def _moved(self, mine: Coordinate, other: Coordinate, force: float, error: float) -> Coordinate:
        """Away from `other` by `force` seconds. The height takes the share of it that it has of the distance
        (section 5.4)."""
        apart = math.dist(mine.position, other.position)
        heights = mine.height + other.height
        direction = self._direction(mine, other, apart)
        up = force * heights / (apart + heights) if apart > _LOWEST else 0.0
        position = tuple(x + (force - up) * d for x, d in zip(mine.position, direction, strict=True))
        height = mine.height + up
        return Coordinate(position, min(max(height, _LOWEST), FARTHEST), error)

    def _direction(self, mine: Coordinate, other: Coordinate, apart: float) -> tuple[float, ...]:
        """From `other` to here; at random from the same place, else they would never part."""
        if apart > _LOWEST:
            return tuple((x - y) / apart for x, y in zip(mine.position, other.position, strict=True))
        thrown = tuple(self._dice.random() - 0.5 for _ in range(DIMENSIONS))
        length = math.hypot(*thrown)
        return tuple(x / length for x in thrown) if length else (1.0, *(0.0,) * (DIMENSIONS - 1))

    def _pulled(self, coordinate: Coordinate) -> Coordinate:
        away = math.hypot(*coordinate.position)
        keep = max(0.0, 1.0 - away / _GRAVITY**2) if away else 1.0
        keep = min(keep, FARTHEST / away) if away else keep
        position = tuple(x * keep for x in coordinate.position)
        return Coordinate(position, coordinate.height, coordinate.error)
