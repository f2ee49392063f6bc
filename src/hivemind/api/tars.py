"""Bodies that are tars, out and in."""

from __future__ import annotations

from hivemind.api.endpoint import Call
from hivemind.errors import WrongMedia

TAR = "application/x-tar"
TARS = (TAR, "application/octet-stream")
"""What uploads may be called."""


def check_tar(call: Call) -> None:
    """Raises `WrongMedia` for an upload that calls itself something else. Compressed ones are not understood."""
    media = call.request.headers.get("content-type", TAR).partition(";")[0].strip().lower()
    if media not in TARS:
        raise WrongMedia(f"{media[:100]!r} is no tar", hint=f"send a plain tar, with Content-Type: {TAR}")
