"""The graph while the function of a job describes it: nodes, and placeholders for values that a run will have."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePath
from typing import Any, NewType

from hivemind.errors import Invalid
from hivemind.model.base import encode

Secret = NewType("Secret", str)
"""Annotates an input of a job that is sealed: `def nightly(token: Secret)`. It can only be passed on."""
RESULT = "result"
"""The output that the return value of a Python task is."""


class Value:
    """Something that only a run knows: an input, or what a task will have returned.

    It can be passed to tasks, whole or within lists and dictionaries, and looked into by `value["key"]`."""

    def __init__(self, path: str, of: Node | None = None, *, secret: bool = False, what: str = "") -> None:
        self.path = path
        self.of = of
        self.secret = secret
        self._what = what or path

    def __getitem__(self, key: str | int) -> Value:
        return Value(f"{self.path}[{encode(key).decode()}]", self.of, what=f"{self._what}[{key!r}]")

    def __bool__(self) -> bool:
        raise Invalid(
            f"{self._what} has no value yet: the job's function only describes the graph",
            hint='decide when it runs: task(...).when("inputs.x > 3"), or let a task decide',
        )

    def __iter__(self) -> Iterator[Any]:
        raise Invalid(
            f"{self._what} has no members yet: the job's function only describes the graph",
            hint="fan out with .map(...)",
        )

    def __str__(self) -> str:
        raise Invalid(
            f"{self._what} has no text yet: the job's function only describes the graph",
            hint="pass it to a task as an argument",
        )

    def __format__(self, spec: str) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<{self._what}, known when it runs>"


class Node(Value):
    """A task of the graph. As a value it is what the task returns."""

    def __init__(self, id: str, group: Group, document: dict[str, Any], *, returns: str = "") -> None:
        super().__init__(f"needs.{id}.outputs.{RESULT}", self, what=f"the result of {id}")
        self.id = id
        self.group = group
        self.document = document
        self.returns = returns
        """Why it has no result; empty: it has one."""
        self.line = _line()

    def after(self, *others: Node | Group, on: str = "success") -> Node:
        """It begins when these are decided: `success`, `failure`, `done`, `always`, or an expression."""
        for other in others:
            self.need(other.node if isinstance(other, Group) else other, on)
        return self

    def when(self, condition: str) -> Node:
        """It is skipped unless this expression holds."""
        self.document["if"] = condition
        return self

    def output(self, name: str) -> Value:
        """Another output than the returned value."""
        return Value(f"needs.{self.id}.outputs.{name}", self, what=f"the output {name} of {self.id}")

    def need(self, other: Node, on: str = "success") -> None:
        if not any(group is other.group for group in (self.group, *self.group.around)):
            raise Invalid(
                f"{self.id} cannot see {other.id}, which is inside the group {other.group.id}",
                hint="let it come after the group, or put it into the group",
            )
        self.document.setdefault("needs", {}).setdefault(other.id, on)


class Group:
    """Tasks that are beside each other: of the job, of a group, of a hook."""

    def __init__(self, id: str, around: tuple[Group, ...] = ()) -> None:
        self.id = id
        self.around = around
        """From the innermost."""
        self.nodes: dict[str, Node] = {}
        self.hooks: dict[str, Group] = {}
        self.node: Node = typing.cast(Node, None)
        """The task that it is in the group around it."""

    def add(self, id: str, document: dict[str, Any], *, returns: str = "") -> Node:
        """A further task, with a number behind its id where that is taken."""
        name, number = id, 1
        while name in self.nodes:
            number += 1
            name = f"{id}_{number}"
        node = self.nodes[name] = Node(name, self, document, returns=returns)
        return node

    def tasks(self) -> dict[str, Any]:
        return {name: node.document for name, node in self.nodes.items()}

    def after(self, *others: Node | Group, on: str = "success") -> Group:
        self.node.after(*others, on=on)
        return self

    def when(self, condition: str) -> Group:
        self.node.when(condition)
        return self


class Build:
    """One job that is being described."""

    def __init__(self) -> None:
        self.top = Group("")
        self.stack = [self.top]
        self.routines: dict[str, Any] = {}

    @property
    def group(self) -> Group:
        return self.stack[-1]

    @contextmanager
    def within(self, group: Group) -> Iterator[Group]:
        self.stack.append(group)
        try:
            yield group
        finally:
            self.stack.pop()


_current: ContextVar[Build | None] = ContextVar("build", default=None)


@contextmanager
def building() -> Iterator[Build]:
    build = Build()
    token = _current.set(build)
    try:
        yield build
    finally:
        _current.reset(token)


def current(what: str) -> Build:
    """The job that is being described. Raises `Invalid` outside of one."""
    build = _current.get()
    if build is None:
        raise Invalid(f"{what} is called outside of a job", hint="call it in a function decorated with @job")
    return build


def is_building() -> bool:
    return _current.get() is not None


def values_in(value: Any) -> Iterator[Value]:
    if isinstance(value, Value):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from values_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from values_in(one)


def use(node: Node, value: Any) -> None:
    """`node` gets `value`: it waits for the tasks whose results are in it."""
    for one in values_in(value):
        if one.of is None:
            continue
        if one is one.of and one.of.returns:
            raise Invalid(f"{one.of.id} returns nothing that {node.id} could get: {one.of.returns}",
                          hint="annotate what it returns, like -> str")  # fmt: skip
        node.need(one.of)


def template(value: Any) -> Any:
    """The value for `with`, `for_each` and the like: placeholders as expressions, all else as it is."""
    if isinstance(value, Value):
        return f"${{{{ {value.path} }}}}"
    if isinstance(value, dict):
        return {key: template(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [template(one) for one in value]
    return _literal(value)


def json_template(value: Any) -> str:
    """A text that, rendered, is the JSON of the value."""
    if isinstance(value, Value):
        return f"${{{{ to_json({value.path}) }}}}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json_template(str(k))}:{json_template(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(json_template(one) for one in value) + "]"
    return encode(_plain(value)).decode().replace("${{", "\\u0024{{")


def _literal(value: Any) -> Any:
    plain = _plain(value)
    if isinstance(plain, str) and "${{" in plain:
        raise Invalid(
            "a text with ${{ cannot be passed to a routine or command",
            hint="pass it to a Python task instead",
        )
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    try:
        encode(value)
    except (TypeError, ValueError, OverflowError):
        raise Invalid(
            f"{value!r} cannot be passed to a task: it is no JSON",
            hint="pass texts, numbers, truth values, lists and dictionaries",
        ) from None
    return value


def type_of(annotation: Any) -> str | None:
    """The type of an input or output that an annotation stands for; None: it says nothing."""
    if isinstance(annotation, str):
        annotation = _NAMED.get(annotation.partition("[")[0].strip(), annotation)
    origin = typing.get_origin(annotation) or annotation
    return _TYPES.get(origin)


_TYPES: dict[Any, str] = {
    str: "string", Path: "string", Secret: "string", int: "integer", float: "number", bool: "boolean",
    list: "list", tuple: "list", dict: "object",
}  # fmt: skip
_NAMED = {"str": str, "Path": Path, "Secret": Secret, "int": int, "float": float, "bool": bool, "list": list,
          "tuple": tuple, "dict": dict}  # fmt: skip


def _line() -> int:
    """Where in the person's own file we have been called."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("hivemind.authoring"):
        frame = frame.f_back
    return frame.f_lineno if frame is not None else 0
