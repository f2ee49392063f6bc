"""The validator's messages in words: a value that misses its pattern is told what the pattern means."""

from __future__ import annotations

import re
from typing import Any

from msgspec import inspect


def plain(message: str, type: Any) -> str:
    """`message` of a `msgspec.ValidationError` about `type`, as a person would say it. The path stays at its end."""
    match = re.search(r"Expected `str` matching regex '(.*)'(?: - at |$)", message)
    if match:
        meaning = _meanings(inspect.type_info(type), {}, set()).get(match[1].replace("\\\\", "\\"))
        if meaning:
            message = message.replace(f"Expected `str` matching regex '{match[1]}'", f"Expected {meaning}")
    message = re.sub(r"Expected `int` >= (-?\d+)", r"Expected a whole number, \1 or more", message)
    message = re.sub(r"Expected `int` <= (-?\d+)", r"Expected a whole number, \1 or less", message)
    return message.replace("Object ", "").replace("`", "'")


def _meanings(
    info: inspect.Type, found: dict[str, str], seen: set[type], description: str = ""
) -> dict[str, str]:
    """Pattern -> the description that stands beside it in the type. `seen` are structs that were looked into."""
    if isinstance(info, inspect.Metadata):
        described = (info.extra_json_schema or {}).get("description", description)
        return _meanings(info.type, found, seen, described)
    if isinstance(info, inspect.StrType) and info.pattern and description:
        found[info.pattern] = description
    elif isinstance(info, inspect.UnionType):
        for member in info.types:
            _meanings(member, found, seen, description)
    elif isinstance(info, inspect.StructType) and info.cls not in seen:
        seen.add(info.cls)
        for field in info.fields:
            _meanings(field.type, found, seen)
    elif isinstance(info, inspect.VarTupleType | inspect.ListType):
        _meanings(info.item_type, found, seen)
    elif isinstance(info, inspect.DictType):
        _meanings(info.key_type, found, seen)
        _meanings(info.value_type, found, seen)
    return found
