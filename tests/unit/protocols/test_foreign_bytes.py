"""What comes from others may be any bytes: also text that is not UTF-8, for which msgspec has no error of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hivemind.model import base
from hivemind.protocols.autobee import wire as autobee
from hivemind.protocols.pbft import wire as pbft
from hivemind.protocols.swim import meta, statements
from hivemind.protocols.swim import wire as swim
from hivemind.security.statement import Statement
from hivemind.state.operations import decode_operation

BROKEN = b"\xa2\xb1\xb1"
"""A text of two bytes that are no UTF-8."""
MESSAGES = [
    BROKEN,
    *(bytes([0x90 + size, tag]) + BROKEN * (size - 1) for tag in range(1, 13) for size in range(2, 6)),
]


def _pbft(message: bytes) -> None:
    with pytest.raises(pbft.Malformed):
        pbft.decode(message)


def _pbft_body(message: bytes) -> None:
    with pytest.raises(pbft.Malformed):
        pbft.decode_body(Statement("", message, b""))


def _pbft_proposal(message: bytes) -> None:
    with pytest.raises(pbft.Malformed):
        pbft.decode_proposal(message)


def _swim(message: bytes) -> None:
    assert swim.decode(message) is None


def _swim_statement(message: bytes) -> None:
    assert statements.read(Statement("", message, b"")) is None


def _swim_meta(message: bytes) -> None:
    assert meta.decode(message) is None


def _autobee(message: bytes) -> None:
    assert autobee.decode(message) is None


@pytest.mark.parametrize(
    "decode", [_pbft, _pbft_body, _pbft_proposal, _swim, _swim_statement, _swim_meta, _autobee]
)
def test_text_that_is_no_utf8_is_refused_as_all_else_that_cannot_be_read(
    decode: Callable[[bytes], None],
) -> None:
    for message in MESSAGES:
        decode(message)


def test_neither_is_it_an_operation() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_operation(b'{"type": "app.stop", "project": "\xb1", "name": "web"}')


@pytest.mark.parametrize("text", [b'{"name": "\xb1"}', b"[" * 100_000, b"{", b"3"])
def test_what_decoding_may_raise_has_one_name(text: bytes) -> None:
    with pytest.raises(base.UNREADABLE):
        base.decode(text, dict[str, Any])


@pytest.mark.parametrize("message", MESSAGES)
def test_so_it_is_in_messagepack(message: bytes) -> None:
    with pytest.raises(base.UNREADABLE):
        msgspec.msgpack.decode(message, type=tuple[Any, ...] | dict[str, Any])
