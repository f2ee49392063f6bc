"""Signatures of webhooks, in and out: HMAC-SHA256 with a key that both sides have, as `sha256=<hexadecimal>`."""

from __future__ import annotations

import hashlib
import hmac

PREFIX = "sha256="


def sign(key: bytes, body: bytes, timestamp: str = "") -> str:
    """Over the body; with a timestamp over `<timestamp>.<body>`, so that neither can be exchanged."""
    text = f"{timestamp}.".encode() + body if timestamp else body
    return PREFIX + hmac.new(key, text, hashlib.sha256).hexdigest()


def verify(key: bytes, signature: str, body: bytes, timestamp: str = "") -> bool:
    """In a time that does not tell how much of it is right."""
    return hmac.compare_digest(
        sign(key, body, timestamp).encode(), signature.strip().encode(errors="replace")
    )
