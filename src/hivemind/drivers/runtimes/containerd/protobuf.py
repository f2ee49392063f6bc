"""The protobuf wire format, as much of it as containerd's API needs: from a table of fields to bytes and back.

A `Schema` names the fields of one message. Values are plain dictionaries; a field that is left out has its type's
empty value, and decoding fills it in. Fields that a newer peer adds are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from hivemind.errors import Corrupt

Value = dict[str, Any]
Kind = Literal["text", "bytes", "number", "flag", "map", "message"]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_SCALARS: dict[str, Any] = {"text": "", "bytes": b"", "number": 0, "flag": False}


class Field(NamedTuple):
    number: int
    kind: Kind
    schema: Schema | None = None
    many: bool = False


class Schema:
    """The fields of a message by name."""

    def __init__(self, **fields: Field) -> None:
        self._fields = fields
        self._by_number = {field.number: (name, field) for name, field in fields.items()}

    def encode(self, value: Mapping[str, Any]) -> bytes:
        out = bytearray()
        for name, content in value.items():
            field = self._fields[name]
            for each in _each(field, content):
                _put(out, field, each)
        return bytes(out)

    def decode(self, data: bytes) -> Value:
        """Raises `Corrupt` for what is not such a message."""
        value = {name: _empty(field) for name, field in self._fields.items()}
        try:
            for number, raw in _parts(data):
                if number in self._by_number:
                    name, field = self._by_number[number]
                    _take(value, name, field, raw)
        except (IndexError, ValueError, TypeError) as error:
            raise Corrupt(f"an answer of containerd cannot be read: {error}") from error
        return value


def text(number: int) -> Field:
    return Field(number, "text")


def texts(number: int) -> Field:
    return Field(number, "text", many=True)


def blob(number: int) -> Field:
    return Field(number, "bytes")


def integer(number: int) -> Field:
    """Of any width, never negative."""
    return Field(number, "number")


def flag(number: int) -> Field:
    return Field(number, "flag")


def labels(number: int) -> Field:
    """A map from text to text."""
    return Field(number, "map", _ENTRY)


def one(number: int, schema: Schema) -> Field:
    return Field(number, "message", schema)


def many(number: int, schema: Schema) -> Field:
    return Field(number, "message", schema, many=True)


_ENTRY = Schema(key=text(1), value=text(2))


def _each(field: Field, content: Any) -> Iterator[Any]:
    if field.kind == "map":
        yield from ({"key": key, "value": value} for key, value in content.items())
    elif field.many:
        yield from content
    elif content or field.kind == "message":
        yield content


def _put(out: bytearray, field: Field, value: Any) -> None:
    if field.kind in ("number", "flag"):
        out += _varint(field.number << 3 | _VARINT) + _varint(int(value))
        return
    if field.schema is not None:
        value = field.schema.encode(value)
    raw: bytes = value.encode() if field.kind == "text" else value
    out += _varint(field.number << 3 | _LENGTH) + _varint(len(raw)) + raw


def _take(value: Value, name: str, field: Field, raw: int | bytes) -> None:
    found: Any
    if isinstance(raw, int):
        found = bool(raw) if field.kind == "flag" else raw
    elif field.kind == "map":
        entry = _ENTRY.decode(raw)
        value[name][entry["key"]] = entry["value"]
        return
    elif field.schema is not None:
        found = field.schema.decode(raw)
    else:
        found = raw.decode() if field.kind == "text" else raw
    if field.many:
        value[name].append(found)
    else:
        value[name] = found


def _empty(field: Field) -> Any:
    if field.many:
        return []
    if field.kind == "map":
        return {}
    return field.schema.decode(b"") if field.schema is not None else _SCALARS[field.kind]


def _parts(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            number, at = _read_varint(data, at)
            yield key >> 3, number
            continue
        if kind == _LENGTH:
            size, at = _read_varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(data):
            raise ValueError("it ends too early")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(number: int) -> bytes:
    if number < 0:
        raise ValueError("negative numbers are not used here")
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise ValueError("a number without end")
