"""What every struct of the model shares: three base classes and the canonical encoding.

Type checkers and msgspec want `frozen` and `kw_only` said again by each subclass.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something a person wrote. Unknown keys are mistakes and are refused."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something Hivemind keeps. Unknown keys are ignored, so that older programs read newer data."""


class Document(msgspec.Struct, frozen=True):
    """Something the API shows. All keys are present, defaults included."""


_encoder = msgspec.json.Encoder(order="deterministic")


def encode(value: Any) -> bytes:
    """The canonical JSON of `value`: sorted keys, no white space. Digests and signatures cover these bytes."""
    return _encoder.encode(value)


UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding bytes from elsewhere may raise, JSON and MessagePack alike. Text that is no UTF-8 is none of msgspec's
own errors, nor is what is nested too deeply."""


def decode(data: bytes, type: type[T]) -> T:
    """Raises `UNREADABLE`."""
    return msgspec.json.decode(data, type=type)
