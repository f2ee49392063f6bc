"""What a multiplexer has to tell whoever drives it."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from hivemind.protocols.mux.frame import Failure


class Heard(msgspec.Struct, frozen=True):
    """A message came."""

    service: str
    message: bytes


class Asked(msgspec.Struct, frozen=True):
    """A question came, to be answered with `reply` or `fail`."""

    stream: int
    service: str
    question: bytes


class Answered(msgspec.Struct, frozen=True):
    """An own question has its answer."""

    stream: int
    answer: bytes


class Opened(msgspec.Struct, frozen=True):
    """The other side opened a stream, to be taken with `accept` or refused with `fail`."""

    stream: int
    service: str


class Changed(msgspec.Struct, frozen=True):
    """Whoever waits for something of that stream should look again."""

    stream: int


class Broke(msgspec.Struct, frozen=True):
    """That stream is no more; nor is its question, if it was a call."""

    stream: int
    failure: Failure


Event: TypeAlias = Heard | Asked | Answered | Opened | Changed | Broke
