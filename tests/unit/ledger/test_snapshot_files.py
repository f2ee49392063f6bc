"""What a person may hand to `cluster snapshot restore`: anything, and nothing happens unless it is a hive's state."""

from __future__ import annotations

import msgspec
import pytest

from hivemind.errors import Corrupt, Invalid, Unsupported
from hivemind.ledger import recovery
from hivemind.ledger.recovery import opened
from hivemind.ledger.trust import Trust
from hivemind.model.hive import Epoch
from hivemind.state.partition import hash32
from hivemind.state.state import State

SOUND = State("some-hive").snapshot()
DEEP = b"[" * 100_000
TRUST = Trust(hive="some-hive", epoch=Epoch(number=0, since=0, voters=("a" * 64,)))


def file(snapshot: bytes = SOUND, *, format: int = 1, **more: object) -> bytes:
    saved = {
        "format": format,
        "snapshot": snapshot,
        "head": b"",
        "trust": None,
        "proof": b"",
        "batches": (),
        **more,
    }
    body = msgspec.msgpack.encode(saved)
    return recovery._MAGIC + hash32(body) + body


def test_a_sound_one_is_opened() -> None:
    state, _ = opened(file())
    assert state.hive == "some-hive"


def test_what_is_no_snapshot_or_of_a_newer_program_is_told_so() -> None:
    with pytest.raises(Invalid):
        opened(b"PK\x03\x04../../etc/passwd")
    with pytest.raises(Unsupported):
        opened(file(format=99))


@pytest.mark.parametrize(
    "data",
    [
        recovery._MAGIC,
        file()[:-3],
        file()[:-1] + b"x",
        recovery._MAGIC + hash32(DEEP) + DEEP,
        file(b""),
        file(b"[]"),
        file(DEEP),
        file(b'{"hive":"\xff"}'),
        file(SOUND.replace(b'"apps":{}', b'"apps":{"a":' + DEEP + b"}")),
        file(SOUND.replace(b'"apps":{}', b'"apps":{"a":{}}')),
        file(SOUND.replace(b'"tables":{', b'"tables":{"../../x":{"a":{}},')),
        file(batches=((b"x", b""),)),
        file(batches=((DEEP, b""),)),
        file(trust=TRUST),
        file(SOUND.replace(b'"apps":{}', b'"apps":{"a":' + DEEP + b"}"), trust=TRUST),
        file(trust=TRUST, proof=b"\x93\x00\xc0\x90"),
        file(snapshot="text"),
    ],
)
def test_what_is_damaged_or_made_up_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        opened(data)
