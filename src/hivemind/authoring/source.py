"""The body of a function as a script that stands by itself."""

from __future__ import annotations

import ast
import builtins
import inspect
import symtable
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from hivemind.errors import Invalid

_OWN = ("hivemind",)


class Located(Invalid):
    """With the line of the person's file that it is about."""

    line = 1


def script(function: Callable[..., Any], arguments: str) -> str:
    """The function, what it imports, and its call; `arguments` is the expression of a dictionary of them.

    The value it returns becomes the output `result`. Raises `Invalid` for what would be missing there."""
    name = function.__name__
    body = body_of(function)
    lines = ["from __future__ import annotations", "import json, os", *imports(function, body), "", body, ""]
    return "\n".join(lines) + _CALL.format(name=name, arguments=arguments)


_CALL = """
_value = {name}(**{arguments})
if _value is not None:
    _text = _value if isinstance(_value, str) else json.dumps(_value, default=os.fspath)
    _end = "END"
    while _end in _text:
        _end += "_"
    with open(os.environ["HIVEMIND_OUTPUT"], "a", encoding="utf-8", newline="") as _file:
        _file.write(f"result<<{{_end}}\\n{{_text}}\\n{{_end}}\\n")
"""


def body_of(function: Callable[..., Any]) -> str:
    """Its source, dedented, decorators dropped."""
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise _refused(function, "its source cannot be found", "define it in a file") from None
    found = ast.parse(text).body[0]
    if not isinstance(found, ast.FunctionDef):
        raise _refused(function, "it is no plain function", "write it with def")
    lines = text.splitlines()[found.lineno - 1 : found.end_lineno]
    return "\n".join(lines)


def imports(function: Callable[..., Any], body: str) -> list[str]:
    """Statements that give it the modules, and the things of other modules, that it uses from around it."""
    if function.__closure__:
        names = ", ".join(function.__code__.co_freevars)
        raise _refused(
            function,
            f"it uses {names} of the function around it, which does not go along",
            "pass it as an argument",
        )
    found = []
    for name in sorted(set(_globals(body))):
        around = function.__globals__
        if name == function.__name__ or (name not in around and hasattr(builtins, name)):
            continue
        if name not in around:
            raise _refused(
                function, f"it uses {name}, which is nowhere", "define or import it within the function"
            )
        found.append(_statement(function, name, around[name]))
    return found


def _statement(function: Callable[..., Any], name: str, value: Any) -> str:
    if isinstance(value, ModuleType):
        if not value.__name__.startswith(_OWN) and value.__name__ != function.__module__:
            return f"import {value.__name__} as {name}" if value.__name__ != name else f"import {name}"
        raise _refused(function, f"it uses the module {value.__name__}, which is not there", "leave it out")
    module = getattr(value, "__module__", None)
    origin = getattr(value, "__qualname__", "")
    if (
        module
        and module != function.__module__
        and not str(module).startswith(_OWN)
        and getattr(sys.modules.get(module), origin, None) is value
    ):
        return f"from {module} import {origin}" + (f" as {name}" if origin != name else "")
    raise _refused(
        function,
        f"it uses {name} of the file around it, which does not go along",
        "pass it as an argument, or define or import it within the function",
    )


def _globals(body: str) -> Iterator[str]:
    """Names that the function, or one within it, takes from around it."""
    for table in symtable.symtable(body, "<task>", "exec").get_children():
        yield from _within(table)


def _within(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_global() and symbol.is_referenced():
            yield symbol.get_name()
    for child in table.get_children():
        yield from _within(child)


def _refused(function: Callable[..., Any], why: str, hint: str) -> Invalid:
    error = Located(f"{function.__name__} cannot be sent to a task: {why}", hint=hint)
    error.line = function.__code__.co_firstlineno
    return error
