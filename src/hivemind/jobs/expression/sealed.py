"""A secret on its way: it can be passed on whole, and nothing else can be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Sealed(msgspec.Struct, frozen=True):
    """`box` opens only with the hive's key and in that `context` (`security.sealing`). In expressions it is opaque:
    any operator, function, comparison, condition or surrounding text refuses it."""

    box: bytes
    context: str

    def __repr__(self) -> str:
        return "Sealed(***)"


def holds_secret(value: Any) -> bool:
    """Whether it is one, or has one in it at any depth."""
    if isinstance(value, Mapping):
        return any(map(holds_secret, value.values()))
    return any(map(holds_secret, value)) if isinstance(value, list | tuple) else isinstance(value, Sealed)
