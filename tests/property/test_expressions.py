"""Whatever is written: a value or `Invalid`, soon, and the same each time."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.errors import Invalid
from hivemind.jobs.expression import Sealed, check, evaluate, references, render, truth
from hivemind.jobs.expression.functions import FUNCTIONS
from hivemind.jobs.expression.operators import OPERATORS

SECRET = Sealed(b"sesame", "run/1/password")

_WORDS = [
    *FUNCTIONS, *OPERATORS, "and", "or", "not", "if", "else", "(", ")", "[", "]", "{", "}", ",", ":", ".", "'", '"',
    "${{", "}}", "true", "null", "0", "1", "2.5", "1e300", "9223372036854775807", "'a'", '"\\n"', "x", "y", "deep",
    "secret", "many", "UTC", "\\", "\x00", "é", "\u202e", "\ud800", "--", "\n",
]  # fmt: skip

SCOPE: dict[str, Any] = {
    "x": 3,
    "y": "some text",
    "deep": {"a": {"b": [1, {"c": None}]}},
    "secret": SECRET,
    "many": list(range(1000)),
    "self": object(),
}

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def _soon(text: str, scope: dict[str, Any]) -> None:
    for call in (evaluate, truth, *([render] if "${{" in text else [])):
        began = time.process_time()
        try:
            found = [call(text, scope) for _ in range(2)]
            assert msgspec.msgpack.encode(found[0]) == msgspec.msgpack.encode(found[1])
        except Invalid as error:
            assert "sesame" not in error.message + error.hint
        assert time.process_time() - began < 5, text
    for call in (check, references):
        with contextlib.suppress(Invalid):
            call(text)


@given(st.lists(st.sampled_from(_WORDS), max_size=40).map(" ".join) | st.text(max_size=60))
@settings(max_examples=400, deadline=None)
def test_anything_written_is_a_value_or_invalid(text: str) -> None:
    _soon(text, SCOPE)
    _soon("${{ " + text + " }}", SCOPE)


def _sources() -> st.SearchStrategy[str]:
    """Texts that mostly are expressions."""
    atoms = st.sampled_from(
        ["x", "y", "deep.a.b", "many", "secret", "1", "0.5", "'a'", "null", "true", "[1, 2]", "{a: x}"]
    )

    def more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.tuples(inner, st.sampled_from([*OPERATORS, "and", "or"]), inner).map(
                lambda t: f"({' '.join(t)})"
            ),
            st.tuples(st.sampled_from(sorted(FUNCTIONS)), st.lists(inner, min_size=1, max_size=3)).map(
                lambda t: f"{t[0]}({', '.join(t[1])})"
            ),
            st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
            st.tuples(inner, inner).map(lambda t: f"{t[0]}[{t[1]}]"),
            inner.map(lambda one: f"-{one}"),
        )

    return st.recursive(atoms, more, max_leaves=10)


@given(_sources())
@settings(max_examples=400, deadline=None)
def test_all_functions_of_all_values_give_values_or_invalid(text: str) -> None:
    _soon(text, SCOPE)


@given(_VALUES)
@settings(max_examples=150, deadline=None)
def test_json_and_back(value: Any) -> None:
    """Literals are a superset of JSON, and rendering gives them back."""
    scope = {"v": value}
    assert render("${{ v }}", scope) == value
    assert evaluate("from_json(to_json(v)) == v", scope) is True
    written = msgspec.json.encode(value).decode()
    assert evaluate(written, {}) == value


HOSTILE = [
    "().__class__.__bases__[0].__subclasses__()", "''.__class__", "inputs.__init__.__globals__",
    "self.__dict__", "self", "__import__('os').system('id')", "x['__class__']",
    "format('{0.__class__.__mro__}', x)", "format('{0[0]}', many)", "format('{0:999999999}', x)", "'%s' % x",
    "'%999999999d' % 1", "'x' * 1000000000", "[0] * 1000000000", "2 ** 99999", "range(1000000000)",
    "range(0, 9223372036854775807)", "range(-9223372036854775807, 9223372036854775807, 1)",
    "join(range(100000), 'a long separator that is repeated')", "flatten([range(90000), range(90000)])",
    "length(" + "+".join(["range(100000)"] * 500) + ")", "(" * 5000, "[" * 5000, "{a:" * 3000, "-" * 5000 + "1",
    "not " * 2000 + "1", "(" * 5000 + "1" + ")" * 5000, "x" + ".a" * 4000, "x" + "[0]" * 3000,
    "1" + "+1" * 4000, "1 if 1 else " * 800 + "1", "1" * 5000, "0." + "1" * 5000, "1e" + "9" * 1000, "'" * 9999,
    '"' * 9999, "\\" * 5000, "matches('" + "a" * 5000 + "', '(a+)+$')",
    "matches('" + "ab" * 4000 + "', '(a|b)*a(a|b){900}')", "matches('x', '(){1000}{1000}{1000}{1000}')",
    "matches('x', '" + "(" * 900 + "')", "matches('x', 'a{²}')",
    "matches(join(many, ' '), '" + "(.*\\d)" * 100 + "x')", "replace(join(many), '', 'x')",
    "replace(join(many, ','), ',', join(many, ','))",
    "replace(replace(join(many), ',', join(many)), ',', join(many))", "from_json('" + "[" * 5000 + "')",
    "from_json('" + '{"a":' * 1500 + "')", "from_json('1" + "0" * 5000 + "')", "int('" + "9" * 5000 + "')",
    "float('" + "9" * 5000 + "')", "int('١٢')", "float('nan')", "float('inf')", "int(1e308)",
    "round(1e308, 15)", "date(9223372036854775807)", "date(-9223372036854775807)", "date(1e300)",
    "date(0, '../../etc/passwd')", "date(0, '/etc/localtime')", "date(0, 'UTC\x00')", "date(0, 'posixrules')",
    "date(0, 'zones')", "date('\x00')", "date('9999-12-31T23:59:59', 'Pacific/Apia')", "date('0001-01-01')",
    "date(0, 'UTC', '%" + "Y%" * 4000 + "')", "'\x00'", "\x00", "x\x00", "ｘ", "x\u200b", "\u202ex", "'\ud800'",
    "to_json('\ud800')", "${{ ${{ 1 }} }}", "${{" * 3000, "${{ '}}", "}}", "{{ x }}", "`id`", "$(id)", "x; y",
    "x = 1", "lambda: 1", "[i for i in many]", "@x", "# c", "x!",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_ones_reach_nothing_and_do_not_last(text: str) -> None:
    _soon(text, SCOPE)
    _soon("${{ " + text + " }} and more", SCOPE)


@pytest.mark.parametrize("text", HOSTILE[:13], ids=range(13))
def test_nothing_of_python_is_there(text: str) -> None:
    with pytest.raises(Invalid):
        evaluate(text, SCOPE)


def test_values_that_are_too_deep_or_no_values() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for value in (deep, object(), b"bytes", {1: 2}, float("nan"), 2**70, {"a": {1, 2}}):
        with pytest.raises(Invalid):
            evaluate("v", {"v": value})
        _soon("v == v or string(v) or v in [v] or unique([v])", {"v": value})


def test_the_memory_of_one_is_bounded() -> None:
    tracemalloc.start()
    try:
        for text in (one for one in HOSTILE if "range" in one or "matches" in one or "replace" in one):
            with contextlib.suppress(Invalid):
                evaluate(text, SCOPE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 << 20
