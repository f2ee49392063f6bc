"""Amounts as people write them: `512MiB`, `1.5s`, `250m`; and as people like to read them.

Fields annotated `Bytes`, `Seconds` or `Cores` are plain numbers everywhere inside. `normalise` turns the
written forms into numbers wherever a document enters (a manifest, a request body), guided by the type.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta, inspect

from hivemind.errors import Invalid
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
    """`10s`, `1m30s`, `250ms`, `2h` or a bare number of seconds -> seconds."""
    clean = text.strip().lower()
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


_PARSERS = {"bytes": parse_bytes, "seconds": parse_seconds, "cores": parse_cores}


def normalise(raw: Any, type: Any) -> Any:
    """A copy of the JSON-like value `raw` in which written amounts are numbers where `type` wants one."""
    return _walk(raw, inspect.type_info(type))


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
    """For an unknown key, the known key that looks most like it."""
    match = re.search(r"unknown field `([^`]+)`", message)
    if not match:
        return _choices(message, inspect.type_info(type))
    import difflib

    close = difflib.get_close_matches(match[1], sorted(_keys(inspect.type_info(type))), n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def _choices(message: str, info: inspect.Type) -> str:
    """What a field that is one of a few words may be."""
    path = re.search(r"Invalid enum value .* - at `\$((?:\.\w+)+)`", message)
    for name in path[1].strip(".").split(".") if path else ():
        while isinstance(info, inspect.Metadata):
            info = info.type
        fields = info.fields if isinstance(info, inspect.StructType) else ()
        info = next((f.type for f in fields if f.encode_name == name), inspect.AnyType())
    if not path or not isinstance(info, inspect.LiteralType):
        return ""
    return f"it may be {', '.join(str(value) for value in info.values)}"


def _keys(info: inspect.Type) -> set[str]:
    if isinstance(info, inspect.Metadata):
        return _keys(info.type)
    if isinstance(info, inspect.UnionType):
        return set().union(*(_keys(t) for t in info.types))
    if isinstance(info, inspect.VarTupleType | inspect.ListType):
        return _keys(info.item_type)
    if isinstance(info, inspect.StructType):
        return set().union(*({f.encode_name} | _keys(f.type) for f in info.fields))
    return set()


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
