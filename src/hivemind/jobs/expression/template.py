"""Texts in which `${{ … }}` is replaced."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from hivemind.jobs.expression.budget import LONGEST
from hivemind.jobs.expression.lexer import stumble, tokens
from hivemind.jobs.expression.nodes import Name, Node, Path
from hivemind.jobs.expression.parser import parse, parsed

OPEN = "${{"
_CACHED = 300
"""Longer texts are understood anew each time: the cache must stay small whatever is put into it."""


class Template(NamedTuple):
    parts: tuple[str | Node, ...]

    @property
    def whole(self) -> Node | None:
        """The only expression, when there is nothing around it."""
        return self.parts[0] if len(self.parts) == 1 and isinstance(self.parts[0], Node) else None


def template(text: str) -> Template:
    """Raises `Stumble`."""
    return _cached_template(text) if len(text) <= _CACHED else _template(text)


def expression(text: str) -> Node:
    """Bare, or all of it within one `${{ … }}`. Raises `Stumble`."""
    return _cached_expression(text) if len(text) <= _CACHED else _expression(text)


def _template(text: str) -> Template:
    if OPEN not in text:
        return Template((text,) if text else ())
    _check_text(text)
    parts: list[str | Node] = []
    at = 0
    while (begin := text.find(OPEN, at)) >= 0:
        if begin > at:
            parts.append(text[at:begin])
        found, at = tokens(text, begin + len(OPEN), closed=True)
        parts.append(parsed(found))
    if at < len(text):
        parts.append(text[at:])
    return Template(tuple(parts))


def _expression(text: str) -> Node:
    _check_text(text)
    bare = text.strip()
    if not bare.startswith(OPEN):
        return parse(text)
    whole = _template(bare).whole
    if whole is None:
        raise stumble(
            0, "only a part of it is within ${{ }}", "write the whole expression within, or leave ${{ }} out"
        )
    return whole


def _check_text(text: str) -> None:
    if len(text) > LONGEST:
        raise stumble(LONGEST, f"it is longer than {LONGEST:,} characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise stumble(error.start, "it holds half of a surrogate pair") from None


_cached_template = lru_cache(512)(_template)
_cached_expression = lru_cache(512)(_expression)


def paths(node: Node, found: set[tuple[str, ...]]) -> None:
    """Adds what a tree reads."""
    waiting: list[Any] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Path):
            path, rest = one.fixed()
            found |= {path} if path else set()
            waiting.extend(rest)
        elif isinstance(one, Name):
            found.add((one.name,))
        else:
            waiting.extend(one.parts())
