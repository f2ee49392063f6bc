"""What other nodes wrote into the store may be anything."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hivemind.model.allocation import AllocationStatus
from hivemind.model.base import encode
from hivemind.model.event import Event
from hivemind.store.contract import Entry
from hivemind.store.events import told
from hivemind.store.said import said

STATUS = AllocationStatus(ip="10.42.0.7")
ENTRY = Entry("allocation/a", encode(STATUS), "near", 1, 0)
EVENT = Event(id="1-1-near", time=1, type="app.deployed")


def test_only_the_word_of_whose_word_counts_is_heard() -> None:
    assert said(ENTRY, AllocationStatus) == said(ENTRY, AllocationStatus, "near") == STATUS
    assert said(ENTRY, AllocationStatus, "far") is None
    assert said(replace(ENTRY, value=None), AllocationStatus) is None
    assert said(None, AllocationStatus) is None


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"[" * 5_000, b"[]", b'{"restarts":"many"}', b'{"ip":"\xff"}']
)
def test_what_cannot_be_read_says_nothing(value: bytes) -> None:
    assert said(replace(ENTRY, value=value), AllocationStatus) is None


def _told(event: Event, key: str = "") -> Event | None:
    return told(Entry(key or f"event/{event.id}", encode(event), "near", 1, 0))


def test_an_event_is_what_its_key_says_and_ends_no_line_of_a_stream() -> None:
    assert _told(EVENT) == EVENT
    assert _told(EVENT, "event/2-1-near") is None
    assert _told(replace(EVENT, id="1\ndata: {}\n\n")) is None
    assert _told(replace(EVENT, type="a\r\nevent: b")) is None
    assert told(Entry("event/1-1-near", b"garbage", "near", 1, 0)) is None
