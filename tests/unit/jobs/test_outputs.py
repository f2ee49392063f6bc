"""What tasks write as outputs, and what is made of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind.errors import Invalid
from hivemind.jobs.expression import Sealed
from hivemind.jobs.inputs import bind
from hivemind.jobs.outputs import parse_outputs
from hivemind.model.job import Input, OutputSpec


def test_lines_and_blocks() -> None:
    text = "a=1=2\nb<<END\nfirst\n\nsecond=x\nEND\nc=\na=3\n\nd<<E\nE\nurl=http://x<<y\n"
    assert parse_outputs(text) == {"a": "3", "b": "first\n\nsecond=x", "c": "", "d": "", "url": "http://x<<y"}


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True), st.text(max_size=50)))
def test_whatever_is_written_in_blocks_is_read(values: dict[str, str]) -> None:
    text = "".join(f"{name}<<-END-OF-IT-\n{value}\n-END-OF-IT-\n" for name, value in values.items())
    assert parse_outputs(text) == values


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        ("integer", " 12 ", 12),
        ("number", "1.5", 1.5),
        ("boolean", "true", True),
        ("list", '["a", 1]', ["a", 1]),
        ("object", '{"a": null}', {"a": None}),
        ("string", "12", "12"),
    ],
)
def test_types(type: Any, text: str, value: Any) -> None:
    assert parse_outputs(f"v={text}", {"v": OutputSpec(type=type)}) == {"v": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "line 1 of the outputs is 'hello'"),
        ("a=1\n=2", "an output cannot be called ''"),
        ("a b=2", "an output cannot be called 'a b'"),
        ("a<<END\nx\n", "the output a, begun in line 1, is not ended by a line 'END'"),
        ("n=three", "the output n is 'three', which is not JSON"),
        ("n=true", "the output n is 'true', and its type is integer"),
        ("n=1.5", "its type is integer"),
        ("a=" + "x" * 65_537, "the output a is larger than 64 KiB"),
        ("".join(f"v{n}={'x' * 60_000}\n" for n in range(5)), "the outputs are larger than 256 KiB"),
    ],
)
def test_what_is_wrong_is_told(text: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_outputs(text, {"n": OutputSpec(type="integer")})
    assert message in caught.value.message


def test_inputs_are_made_complete() -> None:
    declared = {"a": Input(required=True), "n": Input(type="integer", default=3), "free": Input()}
    assert bind(declared, {"a": "x"}) == {"a": "x", "n": 3, "free": None}
    sealed = Sealed(b"", "")
    assert bind(declared, {"a": sealed})["a"] is sealed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "the job needs the input a"),
        ({"a": 1}, "the input a is 1, and its type is string"),
        ({"a": "x", "n": True}, "the input n is true, and its type is integer"),
        ({"a": "x", "n": 9}, "the input n is 9"),
        ({"a": "x", "m": 9}, "the job has no input 'm'"),
    ],
)
def test_inputs_that_are_refused(given: dict[str, Any], message: str) -> None:
    declared = {"a": Input(required=True), "n": Input(type="integer", default=3, choices=(1, 2, 3))}
    with pytest.raises(Invalid) as caught:
        bind(declared, given)
    assert message in caught.value.message
