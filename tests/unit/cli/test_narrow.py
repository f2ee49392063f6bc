"""Every table, with the longest values there can be, is readable in 80 columns."""

from __future__ import annotations

import io
from typing import Any, get_args, get_origin

import msgspec
import pytest

from hivemind.cli.context import Context
from hivemind.cli.output import table
from hivemind.cli.parsing import Values
from hivemind.cli.tables import display_width
from hivemind.cli.terminal import Terminal
from hivemind.model.registry import RESOURCES
from hivemind.model.resource import Resource

_MAKING: list[type] = []
_LONG = "a-very-long-name-of-something-that-somebody-made-up-" + "0123456789" * 8


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setenv("COLUMNS", "80")
    return Context(Values({"output": "table"}), Terminal(io.StringIO(), io.StringIO()))


def filled(type: Any) -> Any:
    """A value with every text long and every number large."""
    origin, inner = get_origin(type), get_args(type)
    if isinstance(type, msgspec.inspect.Type):
        return _of(type)
    return _of(msgspec.inspect.type_info(type)) if origin is None or inner else None


def _of(info: msgspec.inspect.Type) -> Any:
    match info:
        case msgspec.inspect.StrType():
            return _LONG[: info.max_length or len(_LONG)]
        case msgspec.inspect.IntType():
            return 98_765
        case msgspec.inspect.FloatType():
            return 123_456.789
        case msgspec.inspect.BoolType():
            return True
        case msgspec.inspect.LiteralType():
            return max(info.values, key=lambda value: len(str(value)))
        case msgspec.inspect.EnumType():
            return next(iter(info.cls))
        case msgspec.inspect.UnionType():
            return next(
                (_of(each) for each in info.types if not isinstance(each, msgspec.inspect.NoneType)), None
            )
        case msgspec.inspect.VarTupleType():
            return (_of(info.item_type),) * 3
        case msgspec.inspect.ListType():
            return [_of(info.item_type)] * 3
        case msgspec.inspect.DictType():
            return {_LONG: _of(info.value_type)}
        case msgspec.inspect.StructType():
            if info.cls in _MAKING:  # a task in a task
                return info.cls()
            _MAKING.append(info.cls)
            made = info.cls(**{field.name: _of(field.type) for field in info.fields})
            _MAKING.remove(info.cls)
            return made
        case msgspec.inspect.Metadata():
            return _of(info.type)
        case _:
            return None


@pytest.mark.parametrize("kind", sorted(RESOURCES))
def test_every_kind_fits(context: Context, kind: str) -> None:
    resource: Resource = RESOURCES[kind]
    documents = [filled(resource.document)] * 2
    lines = table(context, resource, documents, project=resource.scope == "project")
    assert max(map(display_width, lines)) <= 80, "\n".join(lines)
    headers = lines[0].split()
    assert len(headers) >= 3
    # Nothing is cut so much that it cannot be told from its neighbour.
    assert all(len(cell) >= 4 for cell in lines[1].split() if "…" in cell), "\n".join(lines)
