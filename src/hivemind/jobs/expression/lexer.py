"""Cuts a text into words and signs."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from hivemind.jobs.expression.budget import LARGEST, Refused

_TOKEN = re.compile(
    r"""
    (?P<number>[0-9]+(?P<fraction>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?))(?![A-Za-z0-9_])
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |'(?P<raw>(?:[^']|'')*)'
    |"(?P<escaped>(?:[^"\\]|\\.)*)"
    |(?P<sign>==|!=|<=|>=|&&|\|\||[-+*/%<>!.,:()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_SPACE = re.compile(r"[ \t\r\n]*")
_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*")
"""After a dot a minus without spaces belongs to the name, because ids of tasks have such names."""
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "/": "/"}
_HINTS = {
    "=": "to compare, write ==",
    "&": "write and, or &&",
    "|": "write or, or ||",
    "?": "a choice is written: a if condition else b",
    "'": "the closing ' is missing",
    '"': 'the closing " is missing',
    "$": "variables of the shell are not known here; in templates ${{ … }} may not hold another",
    "“": "texts stand in plain ' or \"",
    "”": "texts stand in plain ' or \"",
    "‘": "texts stand in plain ' or \"",
    "’": "texts stand in plain ' or \"",
}


class Token(NamedTuple):
    kind: str
    """`name`, `member`, `literal`, `sign` or `end`."""
    text: str
    at: int
    value: Any = None


class Stumble(Exception):
    """Where it was that something was refused."""

    def __init__(self, at: int, refused: Refused) -> None:
        self.at = at
        self.refused = refused


def stumble(at: int, why: str, hint: str = "") -> Stumble:
    return Stumble(at, Refused(why, hint))


def tokens(text: str, begin: int = 0, *, closed: bool = False) -> tuple[list[Token], int]:
    """The tokens from `begin` on, the last of kind `end`, and where it ends: with `closed` after the `}}` that
    belongs to no other brace, else at the end of the text."""
    found: list[Token] = []
    at, open_braces = begin, 0
    while True:
        at = _skipped(text, at)
        if closed and not open_braces and text.startswith("}}", at):
            return [*found, Token("end", "}}", at)], at + 2
        if at >= len(text):
            if closed:
                raise stumble(begin, "the closing }} is missing")
            return [*found, Token("end", "the end", at)], at
        after_dot = bool(found) and found[-1].text == "." and found[-1].kind == "sign"
        token, at = _next(text, at, member=after_dot)
        if token.kind == "sign":
            open_braces += (token.text == "{") - (token.text == "}")
        found.append(token)


def _skipped(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _next(text: str, at: int, *, member: bool) -> tuple[Token, int]:
    if member and (match := _MEMBER.match(text, at)):
        return Token("member", match[0], at), match.end()
    match = _TOKEN.match(text, at)
    if match is None:
        raise stumble(at, f"{text[at]!r} is not understood", _HINTS.get(text[at], ""))
    kind = match.lastgroup or ""
    if match["number"] is not None:
        return Token("literal", match[0], at, _number(match["number"], match["fraction"], at)), match.end()
    if kind == "raw":
        return Token("literal", match[0], at, match["raw"].replace("''", "'")), match.end()
    if kind == "escaped":
        return Token("literal", match[0], at, _unescaped(match["escaped"], at)), match.end()
    return Token(kind, match[0], at), match.end()


def _number(text: str, fraction: str, at: int) -> int | float:
    value = float(text) if fraction else int(text[:30])
    if abs(value) > (LARGEST if not fraction else 1.7976931348623157e308) or len(text) > 300:
        raise stumble(at, "the number is too large", "integers have 64 bits")
    return value


def _unescaped(text: str, at: int) -> str:
    def replaced(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        if match[2] not in _ESCAPES:
            raise stumble(at, f"\\{match[2]} is not understood", "within '…' a backslash is a backslash")
        return _ESCAPES[match[2]]

    # Pairs of surrogates become the characters that they stand for, as in JSON; halves cannot be kept.
    whole = _ESCAPE.sub(replaced, text).encode("utf-16", "surrogatepass")
    try:
        return whole.decode("utf-16")
    except UnicodeDecodeError:
        raise stumble(at, "a text holds half of a surrogate pair") from None
