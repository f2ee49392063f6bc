"""JSON of strangers: what is nested without end is refused by rule, not by how deep the machine's stack is."""

from __future__ import annotations

import msgspec
import pytest

from hivemind.model.json_text import DEEPEST_VALUE, decode_value, is_deep


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_a_value_may_be_nested_so_deep_and_no_deeper() -> None:
    assert decode_value(nested(DEEPEST_VALUE)) is not None
    with pytest.raises(msgspec.DecodeError, match="more than 64 deep"):
        decode_value(nested(DEEPEST_VALUE + 1))
    with pytest.raises(msgspec.DecodeError):
        decode_value('{"a":' * 100_000)


@pytest.mark.parametrize("text", ["", "[", "nul", '"\ud800"', "1e999", '"\\ud800"'])
def test_whatever_is_no_json_is_told_in_one_way(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_value(text)


def test_brackets_in_texts_are_texts() -> None:
    assert not is_deep(b'{"a": "' + b"[" * 1000 + b'"}', 3)
    assert not is_deep(rb'["\"[[[[[[[[", "\\"]', 3)
    assert is_deep(rb'["\\", [[[[1]]]]]', 3)


def test_many_beside_each_other_are_not_deep() -> None:
    assert not is_deep(b"[" + b"[],{}," * 10_000 + b"[]]", 2)
