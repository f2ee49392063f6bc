"""The small language of conditions, needs, fan-outs, keys, templates and filters.

It reads what its scope holds and computes new values, and that is all: no loops, no assignments, nothing of Python
can be reached, no clock and no dice, and what a single one may cost is bounded (`budget`). The same text over the same
scope gives the same value on every node. docs/expressions.md is for those who write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from hivemind.errors import Invalid
from hivemind.jobs.expression.budget import RECALLED, Budget, Refused
from hivemind.jobs.expression.lexer import Stumble
from hivemind.jobs.expression.nodes import Name, Node, Path, Work
from hivemind.jobs.expression.sealed import Sealed, holds_secret
from hivemind.jobs.expression.template import OPEN, Template, expression, paths, template
from hivemind.jobs.expression.values import as_text, plain, truthy

__all__ = ["Sealed", "check", "evaluate", "holds_secret", "references", "render", "truth"]


def evaluate(text: str, scope: Mapping[str, Any]) -> Any:
    """The value of an expression, bare or within `${{ … }}`: as JSON has them, or a `Sealed`.

    Raises `Invalid`, and nothing else."""
    work = Work(scope, Budget())
    try:
        return _result(expression(text), work)
    except (Refused, Stumble) as error:
        _explain(text, error, work.at)


def truth(text: str, scope: Mapping[str, Any]) -> bool:
    """Whether an expression holds: false are `false`, `null`, 0, "" and empty lists and objects."""
    work = Work(scope, Budget())
    try:
        return truthy(expression(text).value(work))
    except (Refused, Stumble) as error:
        _explain(text, error, work.at)


def render(value: Any, scope: Mapping[str, Any]) -> Any:
    """A template that is exactly one `${{ … }}` keeps its type; otherwise text, in which each is replaced by its
    value: strings as they are, all else as JSON. Lists and objects are rendered member by member."""
    if isinstance(value, str):
        return _rendered(value, scope) if OPEN in value else value
    if isinstance(value, Mapping):
        return {name: render(one, scope) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [render(one, scope) for one in value]
    return value


def references(value: Any, *, templates: bool = False) -> frozenset[tuple[str, ...]]:
    """The dotted paths that an expression reads, up to the first index that is not fixed.

    A text with `${{` in it, and with `templates` any, is read as a template; lists and objects are read member by
    member. Raises `Invalid`."""
    found: set[tuple[str, ...]] = set()
    for text in _texts(value):
        for node in _nodes(text, templates=templates):
            paths(node, found)
    return frozenset(found)


def check(value: Any, *, templates: bool = False) -> None:
    """Raises `Invalid` unless it is an expression, or with `templates` a text, or members, that can be rendered."""
    for text in _texts(value):
        if templates:
            _nodes(text, templates=True)
        else:
            _understood(text, expression)


def _rendered(text: str, scope: Mapping[str, Any]) -> Any:
    work = Work(scope, Budget())
    try:
        found = template(text)
        if (whole := found.whole) is not None:
            return _result(whole, work)
        return _joined(found, work)
    except (Refused, Stumble) as error:
        _explain(text, error, work.at)


def _joined(found: Template, work: Work) -> str:
    parts = [
        part if isinstance(part, str) else as_text(part.value(work), work.budget) for part in found.parts
    ]
    work.budget.text(sum(map(len, parts)))
    return "".join(parts)


def _result(node: Node, work: Work) -> Any:
    value = node.value(work)
    if isinstance(value, Sealed):
        return value
    return plain(value, Budget(RECALLED) if _only_names(node) else work.budget)


def _only_names(node: Node) -> bool:
    """It computes nothing."""
    return isinstance(node, Name) or (isinstance(node, Path) and not node.fixed()[1])


def _texts(value: Any) -> list[str]:
    """All texts within it."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [text for one in value for text in _texts(one)] if isinstance(value, list | tuple) else []


def _nodes(text: str, *, templates: bool) -> list[Node]:
    if templates or OPEN in text:
        return [part for part in _understood(text, template).parts if not isinstance(part, str)]
    return [_understood(text, expression)]


def _understood(text: str, read: Any) -> Any:
    try:
        return read(text)
    except Stumble as error:
        _explain(text, error, 0)


def _explain(text: str, error: Refused | Stumble, at: int) -> NoReturn:
    if isinstance(error, Stumble):
        at, error = error.at, error.refused
    excerpt = text if len(text) <= 60 else f"{text[max(0, at - 25) : at + 30]}…"
    raise Invalid(f"column {at + 1} of {excerpt!r}: {error.why}", hint=error.hint) from None
