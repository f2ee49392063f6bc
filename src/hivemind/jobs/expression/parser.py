"""Makes a tree of an expression. From loose to tight:

`a if c else b` · `or ||` · `and &&` · `not` · `== != < <= > >= in not in` · `+ -` · `* / %` · `-x !x` · `.name [i] f()`
"""

from __future__ import annotations

from collections.abc import Callable

from hivemind.errors import nearest
from hivemind.jobs.expression.budget import DEPTH, NESTING
from hivemind.jobs.expression.functions import FUNCTIONS
from hivemind.jobs.expression.lexer import Token, stumble, tokens
from hivemind.jobs.expression.nodes import (
    Array,
    Call,
    Chain,
    Choice,
    Literal,
    Logic,
    Member,
    Name,
    Negative,
    Node,
    Not,
    Object,
    Path,
)

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "in")
_LITERALS = {"true": True, "false": False, "null": None}
_RESERVED = ("and", "or", "not", "in", "if", "else")
_NOT_FUNCTIONS = {
    "success": "outcomes are named in needs: {task: success}",
    "failure": "outcomes are named in needs: {task: failure}",
    "always": "outcomes are named in needs: {task: always}",
    "cancelled": "outcomes are named in needs: {task: always}",
    "len": "did you mean 'length'?",
    "str": "did you mean 'string'?",
    "tojson": "did you mean 'to_json'?",
    "fromjson": "did you mean 'from_json'?",
}


def parse(text: str) -> Node:
    """The tree of a bare expression. Raises `Stumble`."""
    found, _ = tokens(text)
    return parsed(found)


def parsed(found: list[Token]) -> Node:
    parser = _Parser(found)
    tree = parser.whole()
    _check_depth(tree)
    return tree


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0
        self._open = 0

    def whole(self) -> Node:
        if self._next.kind == "end":
            raise stumble(self._next.at, "an expression is missing")
        tree = self._expression()
        if self._next.kind != "end":
            called = self._next.text == "("
            raise self._unexpected("an operator", "functions are called as in upper(x)" if called else "")
        return tree

    def _expression(self) -> Node:
        self._open += 1
        if self._open > NESTING:
            raise stumble(self._next.at, f"it is nested more than {NESTING} deep")
        then = self._or()
        at = self._next.at
        if self._word("if"):
            condition = self._or()
            if not self._word("else"):
                raise self._unexpected("else", "a choice is written: a if condition else b")
            then = Choice(at, then, condition, self._expression())
        self._open -= 1
        return then

    def _or(self) -> Node:
        return self._logic(True, "or", "||", self._and)

    def _and(self) -> Node:
        return self._logic(False, "and", "&&", self._not)

    def _logic(self, stop: bool, word: str, sign: str, tighter: Callable[[], Node]) -> Node:
        operands = [tighter()]
        at = self._next.at
        while self._word(word) or self._sign(sign):
            operands.append(tighter())
        return Logic(at, stop, tuple(operands)) if len(operands) > 1 else operands[0]

    def _not(self) -> Node:
        places = []
        while self._next.kind == "name" and self._next.text == "not":
            places.append(self._take().at)
        tree = self._comparison()
        return self._wrapped(Not, places, tree)

    def _comparison(self) -> Node:
        first = self._sum()
        compared = self._compared()
        if compared is None:
            return first
        tree = Chain(compared[0], first, ((*compared, self._sum()),))
        if (again := self._compared()) is not None:
            raise stumble(again[0], "comparisons cannot be chained", "write a < b and b < c")
        return tree

    def _compared(self) -> tuple[int, str] | None:
        token = self._next
        if token.kind in ("sign", "name") and token.text in _COMPARISONS:
            return self._take().at, token.text
        if token.kind == "name" and token.text == "not":
            self._take()
            if not self._word("in"):
                raise self._unexpected("in")
            return token.at, "not in"
        return None

    def _sum(self) -> Node:
        return self._chain(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._chain(("*", "/", "%"), self._signed)

    def _chain(self, signs: tuple[str, ...], tighter: Callable[[], Node]) -> Node:
        first, rest = tighter(), []
        while self._next.kind == "sign" and self._next.text in signs:
            token = self._take()
            rest.append((token.at, token.text, tighter()))
        return Chain(rest[0][0], first, tuple(rest)) if rest else first

    def _signed(self) -> Node:
        signs = []
        while self._next.kind == "sign" and self._next.text in ("-", "!"):
            signs.append(self._take())
        tree = self._path()
        for token in reversed(signs):
            tree = self._wrapped(Negative if token.text == "-" else Not, [token.at], tree)
        return tree

    def _wrapped(self, kind: type[Not] | type[Negative], places: list[int], tree: Node) -> Node:
        if len(places) > NESTING:
            raise stumble(places[0], f"it is nested more than {NESTING} deep")
        for at in reversed(places):
            tree = kind(at, tree)
        return tree

    def _path(self) -> Node:
        of, steps = self._primary(), list[Node]()
        at = self._next.at
        while True:
            if self._sign("."):
                if self._next.kind != "member":
                    raise self._unexpected("the name of a member", "other names are written x['…']")
                token = self._take()
                steps.append(Member(token.at, token.text))
            elif self._sign("["):
                steps.append(self._expression())
                self._close("]")
            else:
                return Path(at, of, tuple(steps)) if steps else of

    def _primary(self) -> Node:
        token = self._next
        if token.kind == "literal":
            return Literal(self._take().at, token.value)
        if token.kind == "name" and token.text not in _RESERVED:
            return self._name()
        if self._sign("("):
            inner = self._expression()
            self._close(")")
            return inner
        if self._sign("["):
            return Array(token.at, tuple(self._listed("]")))
        if self._sign("{"):
            return self._object(token.at)
        raise self._unexpected("a value")

    def _name(self) -> Node:
        token = self._take()
        if self._sign("("):
            return self._call(token)
        if token.text in _LITERALS:
            return Literal(token.at, _LITERALS[token.text])
        if token.text in ("True", "False", "None"):
            right = "null" if token.text == "None" else token.text.lower()
            raise stumble(token.at, f"{token.text} is not understood", f"write {right}")
        return Name(token.at, token.text)

    def _call(self, token: Token) -> Node:
        function = FUNCTIONS.get(token.text)
        if function is None:
            hint = nearest(token.text, FUNCTIONS) or f"there are {', '.join(sorted(FUNCTIONS))}"
            raise stumble(
                token.at, f"there is no function {token.text!r}", _NOT_FUNCTIONS.get(token.text.lower(), hint)
            )
        arguments = tuple(self._listed(")"))
        if not function.least <= len(arguments) <= function.most:
            raise stumble(
                token.at, f"{token.text} takes {function.takes}, not {len(arguments)}", function.usage
            )
        return Call(token.at, token.text, arguments)

    def _listed(self, end: str) -> list[Node]:
        found: list[Node] = []
        while not self._sign(end):
            found.append(self._expression())
            if not self._sign(","):
                self._close(end)
                break
        return found

    def _object(self, at: int) -> Node:
        members: list[tuple[str, Node]] = []
        while not self._sign("}"):
            token = self._next
            if not (token.kind == "name" or (token.kind == "literal" and isinstance(token.value, str))):
                raise self._unexpected(
                    "the name of a member", "objects are written {name: value, 'other name': 2}"
                )
            self._take()
            self._close(":")
            members.append((token.value if token.kind == "literal" else token.text, self._expression()))
            if not self._sign(","):
                self._close("}")
                break
        return Object(at, tuple(members))

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _sign(self, text: str) -> bool:
        return self._taken("sign", text)

    def _word(self, text: str) -> bool:
        return self._taken("name", text)

    def _taken(self, kind: str, text: str) -> bool:
        token = self._tokens[self._at]
        if token.kind != kind or token.text != text:
            return False
        self._at += 1
        return True

    def _close(self, sign: str) -> None:
        if not self._sign(sign):
            raise self._unexpected(sign)

    def _unexpected(self, wanted: str, hint: str = "") -> Exception:
        text = self._next.text if len(self._next.text) < 40 else self._next.text[:40] + "…"
        return stumble(self._next.at, f"here should be {wanted}, not {text}", hint)


def _check_depth(tree: Node) -> None:
    waiting = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > DEPTH:
            raise stumble(node.at, f"it is nested more than {DEPTH} deep")
        waiting.extend((part, depth + 1) for part in node.parts())
