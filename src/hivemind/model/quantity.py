"""Amounts as people write them: `512MiB`, `1.5s`, `250m`; and as people like to read them.

Fields annotated `Bytes`, `Seconds` or `Cores` are plain numbers everywhere inside. `normalise` turns the
written forms into numbers wherever a document enters (a manifest, a request body), guided by the type.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, TypeGuard

import msgspec
from msgspec import Meta, inspect

from hivemind.errors import Invalid, nearest
from hivemind.model.wording import plain


def _quantity(kind: str, described: str, most: int, example: str) -> Meta:
    """At most `most`. `x-written` marks in schemas that text such as `example` is understood as well."""
    return Meta(
        ge=0,
        le=most,
        description=described,
        extra={"quantity": kind},
        extra_json_schema={"x-written": example},
    )


Bytes = Annotated[int, _quantity("bytes", "bytes", 2**60, "512MiB")]
Seconds = Annotated[float, _quantity("seconds", "seconds", 10**9, "1m30s")]
Cores = Annotated[float, _quantity("cores", "CPU cores", 10**6, "250m")]

_SCALES = {
    unit: 1024**power
    for power, letter in enumerate(("", "k", "m", "g", "t"))
    for unit in ({letter, f"{letter}b", f"{letter}ib", f"{letter}i"} if letter else {"", "b"})
}
"""Docker's units: all are powers of 1024, whether written 64m, 64MB or 64MiB."""
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"\d+(?:\.\d+)?"
_SIZE = re.compile(rf"({_NUMBER})\s*([a-z]*)")
_SPAN = re.compile(rf"({_NUMBER})(ns|us|µs|ms|s|m|h|d)")


def parse_bytes(text: str) -> int:
    """`512MiB`, `64m`, `1.5g`, `1048576` -> bytes."""
    match = _SIZE.fullmatch(text.strip().lower())
    if not match or match[2] not in _SCALES:
        raise Invalid(f"{text!r} is not an amount of bytes", hint="write it like 512MiB, 64M or 1GiB")
    return int(float(match[1]) * _SCALES[match[2]])


def parse_seconds(text: str) -> float:
    """`10s`, `1m30s`, `250ms`, `2h`, ISO 8601's `PT1M30S` or a bare number of seconds -> seconds."""
    clean = text.strip().lower()
    if match := _ISO.fullmatch(clean):
        return round(sum(float(n or 0) * size for n, size in zip(match.groups(), _ISO_SIZES, strict=True)), 9)
    if re.fullmatch(_NUMBER, clean):
        return float(clean)
    parts = list(_SPAN.finditer(clean))
    if not parts or "".join(p[0] for p in parts) != clean:
        raise Invalid(f"{text!r} is not a length of time", hint="write it like 10s, 1m30s or 250ms")
    return round(sum(float(p[1]) * _UNITS[p[2]] for p in parts), 9)


def parse_cores(text: str) -> float:
    """`0.5`, `2` or `250m` (thousandths, as Kubernetes writes them) -> cores."""
    clean = text.strip().lower()
    match = re.fullmatch(rf"({_NUMBER})(m?)", clean)
    if not match:
        raise Invalid(f"{text!r} is not a number of CPU cores", hint="write it like 0.5, 2 or 250m")
    return float(match[1]) / 1000 if match[2] else float(match[1])


_ISO = re.compile(
    rf"p(?=.*\d)(?:({_NUMBER})w)?(?:({_NUMBER})d)?(?:t(?=\d)(?:({_NUMBER})h)?(?:({_NUMBER})m)?(?:({_NUMBER})s)?)?"
)
_ISO_SIZES = (604800, 86400, 3600, 60, 1)
_PARSERS = {"bytes": parse_bytes, "seconds": parse_seconds, "cores": parse_cores}


def normalise(raw: Any, type: Any) -> Any:
    """A copy of the JSON-like value `raw` in which written amounts are numbers where `type` wants one."""
    return _walk(raw, _info(type))


@lru_cache(16)
def _info(type: Any) -> inspect.Type:
    """Of a job it takes longer than reading the job itself."""
    return inspect.type_info(type)


def _walk(raw: Any, info: inspect.Type) -> Any:
    if isinstance(info, inspect.Metadata):
        parse = _PARSERS.get((info.extra or {}).get("quantity", ""))
        if parse and isinstance(raw, str):
            return parse(raw)
        return _walk(raw, info.type)
    if isinstance(info, inspect.UnionType):
        for member in info.types:
            raw = _walk(raw, member)
        return raw
    if isinstance(info, inspect.StructType) and isinstance(raw, dict):
        fields = {f.encode_name: f.type for f in info.fields}
        return {k: _walk(v, fields[k]) if k in fields else v for k, v in raw.items()}
    if isinstance(info, inspect.VarTupleType | inspect.ListType) and isinstance(raw, list):
        return [_walk(item, info.item_type) for item in raw]
    if isinstance(info, inspect.DictType) and isinstance(raw, dict):
        return {k: _walk(v, info.value_type) for k, v in raw.items()}
    return raw


def read(raw: Any, type: Any) -> Any:
    """A validated `type` made from the JSON-like value `raw`, written amounts understood.

    Raises `Invalid` that names the path of the first fault."""
    try:
        return msgspec.convert(normalise(raw, type), type)
    except msgspec.ValidationError as error:
        raise Invalid(plain(str(error), type), hint=_hint(str(error), type)) from None


def _hint(message: str, type: Any) -> str:
    """For an unknown key the known one that looks most like it; else what may stand at that place."""
    found = _at(message, _info(type))
    if match := re.search(r"unknown field `([^`]+)`", message):
        known = sorted(_keys(found))
        return nearest(match[1], known) or (f"there are {', '.join(known)}" if known else "")
    if "Expected `object`" in message and (known := sorted(_keys(found))):
        return f"write it with keys: {', '.join(known)}"
    if "Invalid value" in message:  # of the word that says which of several objects it is
        parent = _at(_parent(message), _info(type))
        kinds = [str(one.tag) for one in _members(parent) if _tagged(one)]
        return f"it may be {', '.join(kinds)}" if kinds else ""
    if "Invalid enum value" in message and isinstance(found, inspect.LiteralType):
        return f"it may be {', '.join(str(value) for value in found.values)}"
    return ""


def _at(message: str, info: inspect.Type) -> inspect.Type:
    """The type of what `… - at `$.spec.ports[0]`` names; the whole where no place is named."""
    path = re.search(r" - at `\$([^`]*)`", message)
    for step in re.findall(r"\.\w+|\[[^]]*\]", path[1]) if path else ():
        info = next((inner for one in _members(info) if (inner := _inside(one, step))), inspect.AnyType())
    members = _members(info)
    return members[0] if len(members) == 1 else info


def _parent(message: str) -> str:
    return re.sub(r"\.\w+`$", "`", message)


def _tagged(info: inspect.Type) -> TypeGuard[inspect.StructType]:
    return isinstance(info, inspect.StructType) and info.tag is not None


def _inside(info: inspect.Type, step: str) -> inspect.Type | None:
    if isinstance(info, inspect.StructType):
        return next((field.type for field in info.fields if field.encode_name == step[1:]), None)
    if isinstance(info, inspect.VarTupleType | inspect.ListType):
        return info.item_type
    return info.value_type if isinstance(info, inspect.DictType) else None


def _members(info: inspect.Type) -> list[inspect.Type]:
    """Of a union its members, but for `None`."""
    if isinstance(info, inspect.Metadata):
        return _members(info.type)
    if isinstance(info, inspect.UnionType):
        return [member for each in info.types for member in _members(each)]
    return [] if isinstance(info, inspect.NoneType) else [info]


def _keys(info: inspect.Type) -> set[str]:
    """Of an object, or of all that it may be."""
    fields = [field for one in _members(info) if isinstance(one, inspect.StructType) for field in one.fields]
    return {field.encode_name for field in fields}


def show_bytes(amount: float) -> str:
    """1536 -> '1.5KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return (
                f"{amount:.0f}{unit}"
                if unit == "B" or amount >= 100
                else f"{amount:.1f}{unit}".replace(".0", "")
            )
        amount /= 1024
    return f"{amount:.1f}TiB"


def show_seconds(seconds: float) -> str:
    """75 -> '1m15s'; 90000 -> '1d1h'. At most two units."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    left, parts = int(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return "".join(parts[:2])
