"""What expressions mean, and what is said of those that mean nothing."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind.errors import Invalid
from hivemind.jobs.expression import Sealed, check, evaluate, references, render, truth

SCOPE: dict[str, Any] = {
    "inputs": {"name": "Ada", "count": 3, "ratio": 0.5, "days": ["mon", "tue"], "empty": "", "none": None},
    "needs": {"get-data": {"result": "success", "exit_code": 0, "outputs": {"rows": "12", "ok": True}}},
    "item": {"count": 4, "my-key": "dashed"},
    "secret": Sealed(b"box", "run/1/password"),
    "holder": {"password": Sealed(b"box", "run/1/password"), "open": 1},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 - 4", 3),
        ("(1 + 2) * 3", 9),
        ("-2 * -3", 6),
        ("7 / 2", 3.5),
        ("6 / 2", 3),
        ("-7 % 3", 2),
        ("1.5e1", 15.0),
        ("'a' + \"b\"", "ab"),
        ("'it''s \\d'", "it's \\d"),
        (r'"tab\t\u00e9\ud83d\ude00"', "tab\té😀"),
        ("[1, 'a', [null]] + [true]", [1, "a", [None], True]),
        ("{a: 1, 'b c': {d: []}}", {"a": 1, "b c": {"d": []}}),
        ("inputs.name", "Ada"),
        ("inputs['name']", "Ada"),
        ("inputs.days[1]", "tue"),
        ("inputs.days[-1]", "tue"),
        ("inputs.days[2]", None),
        ("inputs.missing", None),
        ("inputs.missing.further['x'][0]", None),
        ("inputs.name[0]", "A"),
        ("needs.get-data.outputs.rows", "12"),
        ("item.my-key", "dashed"),
        ("item.count - 1", 3),
        ("1 == 1.0", True),
        ("1 == '1'", False),
        ("1 == true", False),
        ("[1, {a: 2}] == [1.0, {a: 2}]", True),
        ("1 != 2 and 'a' < 'b'", True),
        ("'mon' in inputs.days", True),
        ("'wed' not in inputs.days", True),
        ("'d' in inputs.name && 'count' in item", True),
        ("not 1 == 2", True),
        ("!false || false", True),
        ("inputs.empty or 'otherwise'", "otherwise"),
        ("inputs.name and inputs.count", 3),
        ("'yes' if inputs.count > 2 else 'no'", "yes"),
        ("1 if false else 2 if false else 3", 3),
        ("null == inputs.none", True),
        ("${{ inputs.count }}", 3),
        ("  ${{ {a: {b: 1}} }} ", {"a": {"b": 1}}),
        ("contains('abc', 'b') and contains([1], 1)", True),
        ("starts_with('abc', 'ab') and ends_with('abc', 'bc')", True),
        (r"matches('v1.20', '^v\d+\.\d+$')", True),
        ("lower('ÀB') + upper('c') + trim(' d ')", "àbCd"),
        ("replace('a-b-c', '-', '+')", "a+b+c"),
        ("split('a,b', ',')", ["a", "b"]),
        ("split(' a  b ')", ["a", "b"]),
        ("join([1, 'a', null], '|')", "1|a|null"),
        ("format('{1} of {0} {{x}}', 3, [1])", "[1] of 3 {x}"),
        ("length('abc') + length([1]) + length({})", 4),
        ("range(3)", [0, 1, 2]),
        ("range(3, 0, -2)", [3, 1]),
        ("keys({b: 1, a: 2})", ["a", "b"]),
        ("values({b: 1, a: 2})", [2, 1]),
        ("from_json('{\"a\": [1, 2.5]}').a[1]", 2.5),
        ("to_json({b: 'é', a: null})", '{"a":null,"b":"é"}'),
        ("default(inputs.none, inputs.missing, 7)", 7),
        ("int(' -12 ') + int(2.9) + int(true)", -9),
        ("float('2.5e1')", 25.0),
        ("string(1) + string('a') + string(true)", "1atrue"),
        ("min(3, 1, 2) + max([1, 5])", 6),
        ("max([])", None),
        ("sum([1, 2, 0.5])", 3.5),
        ("any([0, 1]) and not all([0, 1])", True),
        ("sort(['b', 'a'])", ["a", "b"]),
        ("unique([2, 1, 2.0, '1', true])", [2, 1, "1", True]),
        ("first([]) == null and last([1, 2]) == 2", True),
        ("flatten([[1], [], [2, 3]])", [1, 2, 3]),
        ("pluck([{a: 1}, {b: 2}], 'a')", [1, None]),
        ("abs(-2) + round(2.5) + round(2.345, 1)", 6.3),
        ("date(0)", "1970-01-01"),
        ("date(1774746000000, 'Europe/Paris', '%F %T %z %a %j %V')", "2026-03-29 03:00:00 +0200 Sun 088 13"),
        ("date('2026-12-24T18:00+01:00', 'UTC', '%H')", "17"),
        ("timestamp('2026-12-24T18:00', 'Europe/Paris')", 1798131600000),
        ("secret if inputs.count else 1", SCOPE["secret"]),
    ],
)  # fmt: skip
def test_what_they_mean(text: str, value: Any) -> None:
    check(text)
    found = evaluate(text, SCOPE)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", 1, "is missing"),
        ("1 +", 4, "a value"),
        ("(1", 3, "should be )"),
        ("1 2", 3, "an operator"),
        ("nedes.get.result", 1, "did you mean 'needs'?"),
        ("lenght([])", 1, "did you mean 'length'?"),
        ("len([])", 1, "did you mean 'length'?"),
        ("success()", 1, "needs: {task: success}"),
        ("length()", 1, "takes 1 argument, not 0"),
        ("inputs.name.upper()", 18, "upper(x)"),
        ("a = 1", 3, "write =="),
        ("a ? b : c", 3, "a if condition else b"),
        ("1 < 2 < 3", 7, "a < b and b < c"),
        ("None", 1, "write null"),
        ("'abc", 1, "closing ' is missing"),
        ("“abc”", 1, "plain '"),
        ("1 + 'a'", 3, "string(x)"),
        ("'1' < 2", 5, "int(x)"),
        ("inputs.days.length", 13, "length(x)"),
        ("item.count-1", 6, "spaces around the minus"),
        ("1 + 4 / 0", 7, "division by zero"),
        ("9223372036854775807 + 1", 21, "too large"),
        ("9223372036854775808", 1, "too large"),
        ("1e999", 1, "too large"),
        ("1e308 * 10", 7, "not a finite number"),
        ("int('x')", 1, "no integer can be read from 'x'"),
        ("from_json('{')", 1, "not JSON"),
        ("from_json('1e400')", 1, "out of range"),
        ("matches('x', '(?=a)')", 1, "look-around"),
        ("format('{0.__class__}', 1)", 1, "not understood in a format"),
        ("format('{1}', 1)", 1, "no argument for {1}"),
        ("date(0, 'paris')", 1, "did you mean Europe/Paris?"),
        ("date(0, 'UTC', '%c')", 1, "%c is not understood"),
        ("date('tomorrow')", 1, "is not a time"),
        ("sort([1, 'a'])", 1, "can be sorted"),
        ("${{ 1 }} == 1", 1, "only a part of it is within"),
        ("${{ 1 ", 4, "closing }} is missing"),
        (r'"\q"', 1, "backslash"),
        (r'"\ud800"', 1, "surrogate"),
    ],
)
def test_mistakes_are_explained_with_their_place(text: str, column: int, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        evaluate(text, SCOPE)
    assert refused.value.message.startswith(f"column {column} of ")
    assert said in refused.value.message + refused.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "secret == secret", "secret + 'x'", "not secret", "secret and true", "secret or true", "1 if secret else 2",
        "[secret]", "{a: secret}", "length(secret)", "default(secret, 1)", "string(secret)", "to_json(holder)",
        "holder", "holder == {}", "values(holder) == []", "join(values(holder))", "secret.box", "secret[0]",
        "secret in [1]", "1 in [secret]", "-secret", "last(values(holder)) == 1", "inputs[secret]",
        "coalesce(null, secret)", "format('{0}', secret)", "unique(values(holder))", "min(secret, secret)",
        "range(secret)", "date(secret)", "inputs.days[secret]", "pluck([holder], 'password')",
    ],
)  # fmt: skip
def test_secrets_can_only_be_passed_on_whole(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        evaluate(text, SCOPE)
    assert "secret" in refused.value.message
    assert "box" not in refused.value.message + refused.value.hint or "box" in text
    with pytest.raises(Invalid):
        render(f"x ${{{{ {text} }}}}", SCOPE)


def test_a_secret_is_no_condition_and_no_part_of_a_text() -> None:
    assert render({"PASSWORD": "${{ holder.password }}"}, SCOPE) == {"PASSWORD": SCOPE["secret"]}
    for text in ("secret", "${{ secret }}"):
        with pytest.raises(Invalid):
            truth(text, SCOPE)
    for text in ("p=${{ secret }}", "${{ secret }}${{ secret }}", " ${{ secret }}"):
        with pytest.raises(Invalid):
            render(text, SCOPE)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain } text {{ }}", "plain } text {{ }}"),
        ("${{ inputs.count }}", 3),
        ("${{ inputs.days }}", ["mon", "tue"]),
        ("n=${{ inputs.count }};", "n=3;"),
        ("${{inputs.name}}${{ inputs.days }}", 'Ada["mon","tue"]'),
        ("${{ true }} ${{ null }} ${{ {b: 1, a: 0.5} }}", 'true null {"a":0.5,"b":1}'),
        ("${{ '}}' }}!", "}}!"),
        ("${{ '${{' }} x }}", "${{ x }}"),
        ({"a": ["${{ inputs.count }}", 1]}, {"a": [3, 1]}),
        ("", ""),
        (None, None),
    ],
)
def test_templates(template: Any, value: Any) -> None:
    check(template, templates=True)
    assert render(template, SCOPE) == value


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("needs.get.outputs.x == 1", {("needs", "get", "outputs", "x")}),
        ("needs['get-data'].result", {("needs", "get-data", "result")}),
        ("needs[item.name].result and matrix", {("needs",), ("item", "name"), ("matrix",)}),
        ("tasks.a.outputs.list[0].x", {("tasks", "a", "outputs", "list")}),
        ("length([a.b, {k: c}]) if d else -e.f", {("a", "b"), ("c",), ("d",), ("e", "f")}),
        ("x ${{ a.b }} y ${{ c }}", {("a", "b"), ("c",)}),
        ("1 + 2", set()),
    ],
)
def test_references(text: str, paths: set[tuple[str, ...]]) -> None:
    assert references(text) == paths


def test_references_of_templates() -> None:
    assert references({"a": "just text", "b": ["${{ x.y }}"]}, templates=True) == {("x", "y")}


@pytest.mark.parametrize(
    ("value", "holds"),
    [("0", False), ("''", False), ("[]", False), ("{}", False), ("null", False), ("'0'", True), ("-1", True),
     ("{a: null}", True)],
)  # fmt: skip
def test_truth(value: str, holds: bool) -> None:
    assert truth(value, {}) is holds


def test_what_only_names_a_value_may_be_as_large_as_a_fan_out() -> None:
    items = [{"name": f"n{number}", "size": number} for number in range(100_000)]
    scope = {"needs": {"list": {"outputs": {"items": items}}}}
    assert evaluate("needs.list.outputs.items", scope) == items
    assert render("${{ needs['list'].outputs.items }}", scope) == items
    with pytest.raises(Invalid, match="too many steps"):
        evaluate("[needs.list.outputs.items]", scope)
