"""The decoder meets what nobody should send."""

from __future__ import annotations

import dns.exception
import dns.message
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hivemind.protocols.dns.answer import Forward, answer
from hivemind.protocols.dns.message import FORMERR, HEADER, Malformed, read_name, read_query
from hivemind.protocols.dns.zone import Entry, Zone

ZONE = Zone.build([Entry(project="default", app="web", ip="10.0.0.2", ready=True)])
QUESTION = b"\x03web\x00\x00\x01\x00\x01"


def header(questions: int = 1, additional: int = 0, flags: int = 0x0100) -> bytes:
    return HEADER.pack(7, flags, questions, 0, 0, additional)


def opt(data: bytes = b"", *, length: int | None = None, name: bytes = b"\0") -> bytes:
    size = len(data) if length is None else length
    return name + b"\x00\x29\x04\xd0\x00\x00\x00\x00" + size.to_bytes(2, "big") + data


@pytest.mark.parametrize(
    "data",
    [
        header(0),
        header(2) + QUESTION + QUESTION,
        header(),
        header() + b"\x03we",
        header() + b"\x03web\x00\x00\x01",
        header() + b"\xc0\x0c\x00\x01\x00\x01",  # points to itself
        header() + b"\x01a\xc0\x0c\x00\x01\x00\x01",  # points into its own chain
        header() + b"\xc0\x20\x00\x01\x00\x01",  # points forward
        header() + b"\xc0",
        header() + b"\xc0\x04\x00\x01\x00\x01",  # points into the header
        header() + b"\x40" + b"a" * 64 + b"\x00\x00\x01\x00\x01",
        header() + b"\x80a\x00\x00\x01\x00\x01",
        header() + (b"\x3f" + b"a" * 63) * 4 + b"\x00\x00\x01\x00\x01",  # 257 bytes
        header(additional=1) + QUESTION,
        header(additional=1) + QUESTION + opt(length=5),
        header(additional=1) + QUESTION + opt(name=b"\x01a\x00"),
        header(additional=2) + QUESTION + opt() + opt(),
        header(additional=65535) + QUESTION + opt(),
    ],
)
def test_malformed_queries_get_a_formerr(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_query(data)
    response = answer(data, "127.0.0.1", ZONE)
    assert isinstance(response, bytes)
    assert len(response) == HEADER.size
    id, flags, *counts = HEADER.unpack(response)
    assert (id, flags & 0x8000, flags & 15, counts) == (7, 0x8000, FORMERR, [0, 0, 0, 0])


def test_the_longest_name_is_read() -> None:
    wire = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\x00"
    assert len(wire) == 255
    assert read_name(wire, 0) == ((b"a" * 63,) * 3 + (b"b" * 61,), 255)


def test_pointers_backwards_are_followed() -> None:
    data = header() + b"\x05local\x00\x03web\xc0\x0c"
    assert read_name(data, 19) == ((b"web", b"local"), 25)


def test_a_dot_inside_a_label_is_not_a_separator() -> None:
    query = read_query(header() + b"\x09web.local\x00\x00\x01\x00\x01")
    assert query is not None
    assert query.name == (b"web.local",)


def sane(data: bytes) -> None:
    for transport in ("udp", "tcp"):
        response = answer(data, "127.0.0.1", ZONE, transport)  # type: ignore[arg-type]
        if isinstance(response, bytes):
            assert response[:2] == data[:2]
            assert response[2] & 0x80
            if response[3] & 15 != FORMERR:
                dns.message.from_wire(response)
        else:
            assert response is None or isinstance(response, Forward)


@given(st.binary(max_size=80))
def test_garbage_never_raises(data: bytes) -> None:
    sane(data)


@given(st.binary(max_size=60), st.integers(0, 3), st.integers(0, 3))
def test_garbage_behind_a_good_header_never_raises(data: bytes, questions: int, additional: int) -> None:
    sane(header(questions, additional) + data)


@given(st.data())
def test_damaged_queries_never_raise(draw: st.DataObject) -> None:
    wire = bytearray(dns.message.make_query("_80._tcp.web.default.hive", "SRV", use_edns=0).to_wire())
    for _ in range(draw.draw(st.integers(1, 4))):
        wire[draw.draw(st.integers(0, len(wire) - 1))] = draw.draw(st.integers(0, 255))
    sane(bytes(wire[: draw.draw(st.integers(0, len(wire)))]))


@given(st.binary(max_size=60))
def test_what_is_read_agrees_with_dnspython(data: bytes) -> None:
    wire = header() + data
    # dnspython follows pointers into the header; a question cannot have a pointer that makes sense.
    assume(not any(byte >= 0xC0 for byte in data))
    try:
        theirs = dns.message.from_wire(wire, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return
    ours = read_query(wire)
    assert ours is not None
    assert ours.name == tuple(label.lower() for label in theirs.question[0].name.labels[:-1])
    assert ours.type == theirs.question[0].rdtype
