"""Whether a canonical definition has the shape of its type; all that is wrong is found, and the rest is kept.

`msgspec` stops at the first fault, so it is asked about each leaf by itself once the whole did not pass.
"""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from hivemind.errors import Invalid
from hivemind.jobs.definition.finding import Findings, Path, did_you_mean
from hivemind.jobs.definition.words import also_known, elsewhere, example, noun
from hivemind.model.quantity import read

GONE: Any = object()
"""Stands for a part that was wrong and has been left out."""


def shaped(raw: Any, type: Any, findings: Findings) -> Any:
    """An instance of `type` without whatever was wrong, all of which is told to `findings`; or `GONE`."""
    try:
        return read(raw, type)
    except Invalid:
        kept = _walk(raw, type, (), findings)
    if kept is GONE:
        return GONE
    try:
        return read(kept, type)
    except Invalid as error:
        findings.add((), error.message, error.hint)
        return GONE


def _walk(raw: Any, type: Any, path: Path, findings: Findings) -> Any:
    inner = _plain(type)
    if isinstance(inner, _Struct):
        return _struct(raw, inner, path, findings)
    origin = get_origin(inner)
    if origin is dict:
        return _mapping(raw, get_args(inner), path, findings)
    if origin is tuple:
        return _list(raw, get_args(inner)[0], path, findings)
    if origin in (Union, UnionType):
        return _union(raw, inner, path, findings)
    return _leaf(raw, type, path, findings)


_Struct = msgspec.StructMeta


def _plain(type: Any) -> Any:
    """Without what is annotated, for all that is looked into."""
    while get_origin(type) is Annotated:
        inner = get_args(type)[0]
        if not (
            isinstance(inner, _Struct) or get_origin(inner) in (dict, tuple, Union, UnionType, Annotated)
        ):
            return type
        type = inner
    return type


def _struct(raw: Any, type: Any, path: Path, findings: Findings) -> Any:
    fields = {field.encode_name: field for field in msgspec.structs.fields(type)}
    what = noun(type)
    if not isinstance(raw, dict):
        findings.add(path, f"{what} is a mapping, not {kind(raw)}", f"write it with keys: {_some(fields)}")
        return {} if not any(field.required for field in fields.values()) else GONE
    kept: dict[str, Any] = {}
    tag = type.__struct_config__.tag_field
    for key, value in raw.items():
        if key == tag:
            kept[key] = value
        elif key not in fields:
            known = set(fields) | set(also_known(type))
            hint = elsewhere(key, type) or did_you_mean(str(key), known)
            findings.add((*path, key), f"{what} has no key '{key}'", hint, key=True)
        elif (found := _walk(value, fields[key].type, (*path, key), findings)) is not GONE:
            kept[key] = found
    missing = [name for name, field in fields.items() if field.required and name not in raw]
    for name in missing:
        findings.add(path, f"{what} needs '{name}'", example(type, name))
    whole = not any(field.required and name not in kept for name, field in fields.items())
    return kept if whole else GONE


def _mapping(raw: Any, types: tuple[Any, Any], path: Path, findings: Findings) -> Any:
    if not isinstance(raw, dict):
        findings.add(path, f"{_name(path)} is a mapping, not {kind(raw)}", "write it as name: value")
        return GONE
    kept = {}
    for key, value in raw.items():
        at = (*path, key)
        good = _leaf(key, types[0], at, findings, key=True) is not GONE
        found = _walk(value, types[1], at, findings)
        if good and found is not GONE:
            kept[key] = found
    return kept


def _list(raw: Any, type: Any, path: Path, findings: Findings) -> Any:
    if not isinstance(raw, list | tuple):
        findings.add(path, f"{_name(path)} is a list, not {kind(raw)}", "write it with a dash before each")
        return GONE
    walked = [_walk(one, type, (*path, number), findings) for number, one in enumerate(raw)]
    return [one for one in walked if one is not GONE]


def _union(raw: Any, type: Any, path: Path, findings: Findings) -> Any:
    members = [_plain(member) for member in get_args(type)]
    structs = [member for member in members if isinstance(member, _Struct)]
    if raw is None and type_none in members:
        return raw
    if len(structs) == 1:
        return _struct(raw, structs[0], path, findings)
    if structs and isinstance(raw, dict):
        field = str(structs[0].__struct_config__.tag_field)
        for member in structs:
            if raw.get(field) == member.__struct_config__.tag:
                return _struct(raw, member, path, findings)
        kinds = ", ".join(str(member.__struct_config__.tag) for member in structs)
        findings.add(
            (*path, field) if field in raw else path, f"{_name(path)} needs a {field}", f"one of {kinds}"
        )
        return GONE
    for member in members:
        if (get_origin(member) is tuple and isinstance(raw, list | tuple)) or (
            get_origin(member) is dict and isinstance(raw, dict)
        ):
            return _walk(raw, member, path, findings)
    return _leaf(raw, type, path, findings)


type_none = type(None)


def _leaf(raw: Any, type: Any, path: Path, findings: Findings, *, key: bool = False) -> Any:
    try:
        read(raw, type)
    except Invalid as error:
        message = re.sub(r" - at '.*'$", "", error.message)
        hint = error.hint
        if not hint and isinstance(raw, int | float) and re.search(r"Expected 'str", message):
            hint = f'quote it, like "{raw}", so that it is text'
        if not hint and isinstance(raw, str) and "lower-case letters" in message and (slug := _slug(raw)):
            hint = f"write it like {slug}"
        findings.add(path, _said(path, raw, message, key=key), hint, key=key)
        return GONE
    return raw


def _slug(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:63]


def _said(path: Path, raw: Any, message: str, *, key: bool) -> str:
    """What the validator says of a leaf, with the leaf's name in it."""
    if match := re.match(r"Expected (.*?)(?:, got '.*')?$", message):
        wanted = re.sub(r"^'float' (>|<)= ([\d.]+)$", _bound, _WANTED.get(match[1], match[1]))
        if key:
            return f"'{raw}' cannot be its name: {wanted}"
        return f"{_name(path)} is {kind(raw)}, but must be {wanted}"
    if message.startswith("Invalid enum value"):
        return f"{_name(path)} cannot be {kind(raw)}"
    return f"{_name(path)}: {message}"


def _bound(match: re.Match[str]) -> str:
    limit = f"{float(match[2]):,g}"
    return f"a number, {limit} or {'more' if match[1] == '>' else 'less'}"


_WANTED = {
    "'str'": "text",
    "'str | null'": "text",
    "'int'": "a whole number",
    "'int | null'": "a whole number",
    "'float'": "a number",
    "'bool'": "true or false",
}


def kind(raw: Any) -> str:
    """A value as a message tells it."""
    match raw:
        case None:
            return "empty"
        case bool():
            return "true" if raw else "false"
        case int() | float():
            return str(raw)
        case str():
            return repr(raw if len(raw) <= 40 else raw[:37] + "…")
        case dict():
            return "a mapping"
        case _:
            return "a list"


def _name(path: Path) -> str:
    """The last key, with the position in its list."""
    keys = [step for step in path if isinstance(step, str)]
    if path and isinstance(path[-1], int):
        return f"{keys[-1] if keys else 'the list'}[{path[-1]}]"
    return f"'{keys[-1]}'" if keys else "the definition"


def _some(fields: Any) -> str:
    names = list(fields)
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
