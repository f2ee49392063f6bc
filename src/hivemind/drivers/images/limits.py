"""How much one layer may hold."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one layer may grow to."""

    bytes: int = 32 * 2**30
    entries: int = 1_000_000
    ratio: int = 500
    """Plain bytes for each compressed one. Honest layers stay below 20."""
    ratio_from: int = 2**30
    """Plain bytes below which no ratio is suspicious: zeros compress well."""


LIMITS = Limits()
