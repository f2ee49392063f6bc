"""The wire format against bytes that are known, against itself, and against garbage."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind.drivers.runtimes.containerd import messages
from hivemind.drivers.runtimes.containerd.protobuf import (
    Schema,
    blob,
    flag,
    integer,
    labels,
    many,
    one,
    text,
    texts,
)
from hivemind.errors import Corrupt

INNER = Schema(name=text(1), size=integer(2))
OUTER = Schema(
    word=text(1), number=integer(2), data=blob(3), is_on=flag(4), words=texts(5), labels=labels(6),
    inner=one(7, INNER), inners=many(8, INNER), far=text(1000),
)  # fmt: skip

words = st.text(max_size=20)
numbers = st.integers(0, 2**64 - 1)
inners = st.fixed_dictionaries({"name": words, "size": numbers})
values = st.fixed_dictionaries(
    {
        "word": words, "number": numbers, "data": st.binary(max_size=300), "is_on": st.booleans(),
        "words": st.lists(words, max_size=4), "labels": st.dictionaries(words, words, max_size=4),
        "inner": inners, "inners": st.lists(inners, max_size=4), "far": words,
    }
)  # fmt: skip


def test_known_bytes() -> None:
    """As the documentation of the format has them: a varint, a text, a message inside."""
    schema = Schema(a=integer(1), b=text(2), c=one(3, Schema(a=integer(1))))
    assert schema.encode({"a": 150}) == bytes.fromhex("089601")
    assert schema.encode({"b": "testing"}) == bytes.fromhex("120774657374696e67")
    assert schema.encode({"c": {"a": 150}}) == bytes.fromhex("1a03089601")
    assert schema.decode(bytes.fromhex("1a03089601")) == {"a": 0, "b": "", "c": {"a": 150}}


@given(values)
def test_what_is_written_is_read(value: dict[str, Any]) -> None:
    assert OUTER.decode(OUTER.encode(value)) == value


@given(values)
def test_unknown_fields_are_skipped(value: dict[str, Any]) -> None:
    assert Schema(number=integer(2)).decode(OUTER.encode(value)) == {"number": value["number"]}


def test_fields_of_fixed_width_are_skipped() -> None:
    raw = b"\x49" + b"x" * 8 + b"\x55" + b"y" * 4 + INNER.encode({"name": "kept"})
    assert INNER.decode(raw) == {"name": "kept", "size": 0}


@given(st.binary(max_size=60))
def test_garbage_is_refused_or_read_but_breaks_nothing(data: bytes) -> None:
    try:
        OUTER.decode(data)
    except Corrupt:
        pass


@pytest.mark.parametrize("data", [b"\x08", b"\x0a\x05abc", b"\x08" + b"\xff" * 11, b"\x0b"])
def test_what_is_torn_or_impossible_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        OUTER.decode(data)


def test_a_misspelt_field_is_a_defect_that_shows() -> None:
    with pytest.raises(KeyError):
        messages.TASK_KILL.encode({"container": "c"})


def test_field_numbers_are_used_once() -> None:
    for name, schema in vars(messages).items():
        if isinstance(schema, Schema):
            taken = [field.number for field in schema._fields.values()]
            assert len(taken) == len(set(taken)), name
