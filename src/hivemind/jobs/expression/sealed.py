"""A secret on its way: it can be passed on whole, and nothing else can be done with it."""

from __future__ import annotations

import msgspec


class Sealed(msgspec.Struct, frozen=True):
    """`box` opens only with the hive's key and in that `context` (`security.sealing`). In expressions it is opaque:
    any operator, function, comparison, condition or surrounding text refuses it."""

    box: bytes
    context: str

    def __repr__(self) -> str:
        return "Sealed(***)"
