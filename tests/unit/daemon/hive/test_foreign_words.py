"""What the other end of a first contact says may be any bytes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hivemind.daemon.hive import door
from hivemind.errors import Unavailable

BROKEN = b"\xa2\xb1\xb1"
"""A text of two bytes that are no UTF-8."""


class Babbling:
    def __init__(self, word: bytes) -> None:
        self._word = word

    async def receive(self) -> bytes:
        return self._word


@pytest.mark.parametrize(
    "word",
    [
        BROKEN,
        b"",
        b"\x91" * 5_000,
        *(bytes([0x90 + size, 0xA1]) + BROKEN * (size - 1) for size in (1, 2, 3, 4)),
    ],
)
def test_a_word_that_cannot_be_read_makes_no_sense(word: bytes) -> None:
    contact: Any = Babbling(word)
    with pytest.raises(Unavailable, match="does not make sense"):
        asyncio.run(door.hear(contact))


def _words() -> list[str]:
    return [kind.__struct_config__.tag for kind in door.Word.__args__]


def test_nor_does_a_known_word_with_text_in_it_that_is_none() -> None:
    for tag in _words():
        for size in range(1, 6):
            word = bytes([0x91 + size, 0xA0 + len(tag)]) + str(tag).encode() + BROKEN * size
            contact: Any = Babbling(word)
            with pytest.raises(Unavailable, match="does not make sense"):
                asyncio.run(door.hear(contact))
