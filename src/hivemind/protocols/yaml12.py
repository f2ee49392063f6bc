"""YAML as its version 1.2 reads it: `no`, `on` and `12:30` are strings, and every value knows its line.

PyYAML follows YAML 1.1. Its parser is kept; which plain words are numbers, booleans and nulls is said anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from hivemind.errors import Invalid

_CLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_HINTS = (
    ("mapping values are not allowed", "put a text that has ': ' in it into quotes, or below `|`"),
    ("cannot start any token", "put a text that begins with @, ` or % into quotes"),
)
DEEPEST = 100
"""Mappings and lists within each other: what builds them calls itself, and has no other end than the stack's."""
MOST_VALUES = 500_000
"""In one text, what anchors stand for counted each time: a few lines of them can mean thousands of millions."""
_LONGEST_NUMBER = 100
_TABBED = re.compile(r" *\t")
_RULES = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
)


class Loader(_CLoader):  # type: ignore[misc]
    """Reads the core schema of YAML 1.2, and `<<`, which people use with anchors."""

    yaml_implicit_resolvers: dict[Any, Any] = {}

    def construct_yaml_int(self, node: ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        if len(text) > _LONGEST_NUMBER:
            raise yaml.constructor.ConstructorError(None, None, "a number is too long", node.start_mark)
        if text.startswith(("0o", "0x")):
            return int(text, 0)
        return int(text)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key '{key.value}' stands twice in one mapping", key.start_mark
                    )
                seen.add(key.value)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)


class Dumper(_CDumper):  # type: ignore[misc]
    """Quotes what a reader of YAML 1.1 or 1.2 would not take for a string, and never uses anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, data: str) -> Node:
        special = any(re.fullmatch(pattern, data) for _, pattern, _ in _RULES)
        node: Node = self.represent_scalar("tag:yaml.org,2002:str", data, style="'" if special else None)
        return node


Dumper.add_representer(str, Dumper.represent_text)

for _tag, _pattern, _first in _RULES:
    Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))


class Located:
    """A document, and on which line of its file, and in which column, each part of it stands."""

    def __init__(self, value: Any, node: Node, number: int, lines: list[str]) -> None:
        self.value = value
        self.number = number
        """Which document of the file it is, from 1."""
        self.lines = lines
        """Of the whole file."""
        self._node = node

    def line(self, path: tuple[str | int, ...] = ()) -> int:
        """The line, from 1, of the deepest part of `path` that is there."""
        return self.place(path, key=True)[0]

    def place(self, path: tuple[str | int, ...] = (), *, key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the deepest part of `path` that is there: of its value, or of its `key`."""
        node, mark = self._node, self._node.start_mark
        for depth, step in enumerate(path, 1):
            found = _child(node, step)
            if found is None:
                break
            node, named = found
            mark = named if key or depth < len(path) else node.start_mark
        return int(mark.line) + 1, int(mark.column) + 1


def _child(node: Node, step: str | int) -> tuple[Node, Any] | None:
    """What is there, and where its key begins, or its dash's content."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.value == step:
                return value, key.start_mark
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step].start_mark
    return None


def documents(text: str, source: str) -> Iterator[Located]:
    """Every document in `text` that is not empty. Raises `Invalid` naming `source` and the line."""
    number, lines = 0, text.splitlines()
    try:
        _survey(text, source)
        loader = Loader(text)
        while loader.check_node():
            node = loader.get_node()
            number += 1
            value = _constructed(loader, node, source)
            if value is not None:
                yield Located(value, node, number, lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        if mark and _TABBED.match(lines[mark.line] if mark.line < len(lines) else ""):
            raise Invalid(
                f"{where}: a tab indents this line", hint="indent with spaces: YAML takes no tabs"
            ) from None
        problem = error.problem or error.context or ""
        hint = next(
            (hint for part, hint in _HINTS if part in problem), "check the indentation and quotes there"
        )
        raise Invalid(f"{where}: {problem}", hint=hint) from None
    except yaml.YAMLError as error:
        raise Invalid(f"{source} is not YAML: {str(error).splitlines()[0]}") from None


def _survey(text: str, source: str) -> None:
    """Raises `Invalid` for what must not even be built. Nothing is, here: the parser only tells what comes."""
    total, sizes = 0, dict[str | None, int]()
    around: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=Loader):
        where = f"{source}:{event.start_mark.line + 1}" if event.start_mark else source
        if isinstance(event, yaml.CollectionStartEvent):
            around.append((event.anchor, total))
            if len(around) > DEEPEST:
                raise Invalid(
                    f"{where}: it is nested too deeply", hint=f"at most {DEEPEST} within each other"
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, began = around.pop()
            if anchor:
                sizes[anchor] = total - began
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in around):
                raise Invalid(f"{where}: *{event.anchor} stands within itself", hint="write it out")
            total += sizes.get(event.anchor, 0)
        elif isinstance(event, yaml.ScalarEvent) and event.anchor:
            sizes[event.anchor] = 1
        total += 1
        if total > MOST_VALUES:
            raise Invalid(f"{where}: there are too many values", hint=f"the most is {MOST_VALUES:,}")


def _constructed(loader: Loader, node: Node, source: str) -> Any:
    try:
        return loader.construct_document(node)
    except (
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        OverflowError,
    ):  # a tag that its text does not fit
        raise Invalid(
            f"{source}:{node.start_mark.line + 1}: a value is not what its tag says",
            hint="leave out tags such as !!int",
        ) from None


def dump(value: Any) -> str:
    """Block style, keys in the given order."""
    text: str = yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text
