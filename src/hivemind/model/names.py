"""Names, ids and image references: what they look like and how they are derived."""

from __future__ import annotations

import hashlib
from typing import Annotated

from msgspec import Meta

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"

Name = Annotated[
    str,
    Meta(
        pattern=rf"^{_LABEL}\Z",
        max_length=63,
        description="lower-case letters, digits and dashes; at most 63; starts and ends with a letter or digit",
    ),
]
"""The name of an app, project, node: an RFC 1123 label, so that it is also a DNS name."""

ServiceName = Annotated[
    str,
    Meta(
        pattern=rf"^{_LABEL}(\.{_LABEL})*\Z",
        max_length=253,
        description="a DNS name such as web.local",
    ),
]

DEFAULT_PROJECT = "default"
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to misread


def derive_id(*parts: str | int, length: int = 12) -> str:
    """An id that everyone computes alike from the same parts. 12 characters hold 60 bits."""
    joined = "\x1f".join(str(p) for p in parts).encode()
    number = int.from_bytes(hashlib.blake2b(joined, digest_size=16).digest(), "big")
    letters = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        letters.append(_ALPHABET[digit])
    return "".join(letters)
