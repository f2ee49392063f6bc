"""Regular expressions that anyone may send: whatever the pattern, the time is linear in the length of the text.

Python's own would let one short pattern hold the daemon for years. Here a pattern becomes a nondeterministic
automaton, whose sets of states are turned into a deterministic one as far as the texts lead (and forgotten when
there are too many). What cannot be done so, back-references and look-around, is refused.

Understood: `. [a-z] [^…] ( | ) (?:…) * + ? {m,n} ^ $`, the classes `\\d \\w \\s \\D \\W \\S`, the word borders
`\\b \\B`, escapes, and `(?i)` at the beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hivemind.errors import Invalid

Test = Callable[[str], bool]

LONGEST_TEXT = 1 << 16
"""Characters of a text that are looked at."""
_LONGEST_PATTERN = 1000
_MOST_NODES = 4000
_MOST_KNOWN = 20_000
_MOST_REPEATS = 1000
_DEEPEST = 50
"""Groups within groups."""
_HINT = "write it like ERROR|WARN, status=5\\d\\d or (?i)timeout"


class _Node(NamedTuple):
    """`test`: goes to `out` over a character. `border`: one of ^ $ b B, to `out` without one. Neither: `out` and
    `other` without one."""

    out: int
    other: int = -1
    test: Test | None = None
    border: str = ""


State = tuple[frozenset[int], bool]
"""Nodes reached, and whether the last character was one of a word; the empty set begins."""


class Pattern:
    """Raises `Invalid` for what is not understood.

    `spend` is told what making and using it costs, in steps of about a microsecond, and may raise to end it."""

    def __init__(self, text: str, spend: Callable[[int], None] = lambda _: None) -> None:
        if len(text) > _LONGEST_PATTERN:
            raise _refused(text[:40] + "…", f"it is longer than {_LONGEST_PATTERN} characters")
        parser = _Parser(text)
        self._nodes = parser.nodes
        self._start, self._end = parser.compiled()
        self._spend = spend
        spend(len(text) + len(parser.nodes))
        self._known: dict[tuple[State, str], State | None] = {}
        self._first: State = (frozenset(), False)

    def found_in(self, text: str) -> bool:
        """Anywhere in it; `^` and `$` are its ends."""
        state, known, begun = self._first, self._known, False
        for character in (*text[:LONGEST_TEXT], ""):
            key = (state, character) if begun else (self._first, f"^{character}")
            if key in known:
                reached = known[key]
            else:
                if len(known) > _MOST_KNOWN:
                    known.clear()
                reached = known[key] = self._step(state, character, begun=begun)
            if reached is None:
                return True
            state, begun = reached, True
        return False

    def _step(self, state: State, character: str, *, begun: bool) -> State | None:
        """Over one character, or over the end when it is empty; None: found."""
        nodes, after_word = state
        word = _is_word(character)
        holds = {"^": not begun, "$": not character, "b": word != after_word, "B": word == after_word}
        closed = self._closed({*nodes, self._start}, holds)
        self._spend(1 + len(closed))
        if self._end in closed:
            return None
        out = {
            n.out for n in map(self._nodes.__getitem__, closed) if n.test and character and n.test(character)
        }
        return frozenset(out), word

    def _closed(self, nodes: set[int], holds: dict[str, bool]) -> set[int]:
        """All that can be reached without a character."""
        waiting, closed = list(nodes), set(nodes)
        while waiting:
            node = self._nodes[waiting.pop()]
            if node.test or (node.border and not holds[node.border]):
                continue
            for next in (node.out, node.other):
                if next >= 0 and next not in closed:
                    closed.add(next)
                    waiting.append(next)
        return closed


class _Parser:
    """Builds nodes from the end: each part is told where it leads to, and says where it begins."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open = 0
        self._fold = text.startswith("(?i)")
        if self._fold:
            self._at = 4
        self.nodes: list[_Node] = []

    def compiled(self) -> tuple[int, int]:
        end = self._add(_Node(-1))
        tree = self._either()
        if self._at < len(self._text):
            raise self._wrong("a ) too many")
        return tree(end), end

    def _either(self) -> Callable[[int], int]:
        self._open += 1
        if self._open > _DEEPEST:
            raise self._wrong(f"groups are nested more than {_DEEPEST} deep")
        branches = [self._sequence()]
        while self._next() == "|":
            self._at += 1
            branches.append(self._sequence())
        self._open -= 1

        def build(out: int) -> int:
            begin = branches[-1](out)
            for branch in reversed(branches[:-1]):
                begin = self._add(_Node(branch(out), begin))
            return begin

        return build

    def _sequence(self) -> Callable[[int], int]:
        parts = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeated())

        def build(out: int) -> int:
            if not parts:
                return self._add(_Node(out))  # a node, so that repeating nothing comes to an end, too
            for part in reversed(parts):
                out = part(out)
            return out

        return build

    def _repeated(self) -> Callable[[int], int]:
        part = self._one()
        while (bounds := self._bounds()) is not None:
            part = self._times(part, *bounds)
        return part

    def _bounds(self) -> tuple[int, int | None] | None:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        bounds = simple.get(self._next())
        if bounds is not None:
            self._at += 1
        elif self._next() == "{":
            bounds = self._braces()
        if bounds is not None and self._next() == "?":
            self._at += 1  # as few as possible: for being found or not it is the same
        return bounds

    def _braces(self) -> tuple[int, int | None] | None:
        inner, brace, _ = self._text[self._at + 1 :].partition("}")
        low, comma, high = inner.partition(",")
        if not brace or not low.isdecimal() or (high and not high.isdecimal()):
            return None  # an ordinary brace, as in JSON
        least, most = int(low), (int(high) if high else None) if comma else int(low)
        if least > _MOST_REPEATS or (most is not None and (most > _MOST_REPEATS or most < least)):
            raise self._wrong(f"{{{inner}}} repeats too often")
        self._at += len(inner) + 2
        return least, most

    def _times(self, part: Callable[[int], int], least: int, most: int | None) -> Callable[[int], int]:
        def build(out: int) -> int:
            if most is None:
                loop = self._add(_Node(-1))
                self.nodes[loop] = _Node(part(loop), out)
                out = loop
            else:
                end = out
                for _ in range(most - least):
                    out = self._add(_Node(part(out), end))
            for _ in range(least):
                out = part(out)
            return out

        return build

    def _one(self) -> Callable[[int], int]:
        character = self._take()
        if character == "(":
            return self._group()
        if character in ("*", "+", "?"):
            raise self._wrong(f"nothing stands before {character}")
        if character in ("^", "$"):
            return lambda out: self._add(_Node(out, border=character))
        if character == "\\" and self._next() in ("b", "B"):
            border = self._take()
            return lambda out: self._add(_Node(out, border=border))
        test = self._test(character)
        return lambda out: self._add(_Node(out, test=test))

    def _group(self) -> Callable[[int], int]:
        if self._next() == "?":
            if self._text[self._at : self._at + 2] != "?:":
                raise self._wrong("look-around and flags inside are not understood")
            self._at += 2
        inner = self._either()
        if self._next() != ")":
            raise self._wrong("a ) is missing")
        self._at += 1
        return inner

    def _test(self, character: str) -> Test:
        if character == ".":
            return lambda _: True
        if character == "[":
            return self._set()
        if character == "\\":
            return self._escape(self._take())
        return self._is(character)

    def _set(self) -> Test:
        negated = self._next() == "^"
        if negated:
            self._at += 1
        tests: list[Test] = []
        while self._next() != "]" or not tests:
            first = self._take()
            if not first:
                raise self._wrong("a ] is missing")
            if first == "\\":
                tests.append(self._escape(self._take()))
            elif self._next() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                tests.append(self._between(first, self._take()))
            else:
                tests.append(self._is(first))
        self._at += 1
        return lambda c: any(test(c) for test in tests) != negated

    def _between(self, low: str, high: str) -> Test:
        if high < low:
            raise self._wrong(f"{low}-{high} is the wrong way round")
        if self._fold:
            return lambda c: low <= c.lower() <= high or low <= c.upper() <= high
        return lambda c: low <= c <= high

    def _escape(self, letter: str) -> Test:
        classes: dict[str, Test] = {"d": str.isdigit, "w": _is_word, "s": str.isspace}
        if letter in classes:
            return classes[letter]
        if letter.lower() in classes:
            inverse = classes[letter.lower()]
            return lambda c: not inverse(c)
        plain = {"t": "\t", "n": "\n", "r": "\r"}
        if not letter or (letter.isalnum() and letter not in plain):
            raise self._wrong(f"\\{letter} is not understood")
        return self._is(plain.get(letter, letter))

    def _is(self, wanted: str) -> Test:
        if self._fold:
            folded = wanted.casefold()
            return lambda c: c.casefold() == folded
        return lambda c: c == wanted

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        self._at += 1
        return self._text[self._at - 1 : self._at]

    def _add(self, node: _Node) -> int:
        if len(self.nodes) >= _MOST_NODES:
            raise self._wrong("it is too large")
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _wrong(self, why: str) -> Invalid:
        return _refused(self._text, why)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _refused(pattern: str, why: str) -> Invalid:
    return Invalid(f"the pattern {pattern!r} cannot be used: {why}", hint=_HINT)
