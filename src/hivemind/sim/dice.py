"""Chance: every purpose has its own stream, so that who draws once more changes nothing for the others."""

from __future__ import annotations

import hashlib
from random import Random


def dice(seed: int, *purpose: object) -> Random:
    """The stream of that purpose (`"link", "n0", "n1"`) in the world of that seed."""
    text = "/".join((str(seed), *map(str, purpose)))
    return Random(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big"))
