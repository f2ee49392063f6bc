"""The one small tree of errors.

Every error says whose fault it is (its class), what happened (its message) and what to do now (its hint).
The same four facts serve each surface: HTTP status and RFC 9457 problem type for the API, exit code for the
command line, a stable machine-readable `code` for programs.
"""

from __future__ import annotations

from collections.abc import Iterable


class HivemindError(Exception):
    """Base of everything Hivemind raises on purpose. Anything else that escapes is a defect."""

    code = "internal"
    status = 500
    exit_code = 1
    title = "Internal error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Invalid(HivemindError):
    """What was asked makes no sense as written; asking again unchanged will fail again."""

    code, status, exit_code, title = "invalid", 400, 2, "Invalid request"


class WrongMethod(Invalid):
    """That address exists, but not with this HTTP method."""

    code, status, title = "wrong-method", 405, "Method not allowed"


class WrongMedia(Invalid):
    """The body is of a kind (`Content-Type`) that is not understood here."""

    code, status, title = "wrong-media", 415, "Unsupported media type"


class Unauthenticated(HivemindError):
    code, status, exit_code, title = "unauthenticated", 401, 3, "Not signed in"


class Forbidden(HivemindError):
    code, status, exit_code, title = "forbidden", 403, 3, "Not allowed"


class NotFound(HivemindError):
    code, status, exit_code, title = "not-found", 404, 4, "Not found"


class Conflict(HivemindError):
    """The request clashes with what is there (a taken name, a busy port, a thing in use)."""

    code, status, exit_code, title = "conflict", 409, 5, "Conflict"


class Stale(HivemindError):
    """The `If-Match` of a write names a version that is no longer current."""

    code, status, exit_code, title = "stale", 412, 5, "Changed meanwhile"


class TooLarge(HivemindError):
    code, status, exit_code, title = "too-large", 413, 2, "Too large"


class Unsupported(HivemindError):
    """This machine, runtime or version cannot do that; the message says why."""

    code, status, exit_code, title = "unsupported", 501, 6, "Not supported here"


class Unavailable(HivemindError):
    """Right now it cannot be done (daemon down, disk full, shutting down); trying later may work."""

    code, status, exit_code, title = "unavailable", 503, 7, "Unavailable"


class TimedOut(HivemindError):
    code, status, exit_code, title = "timed-out", 504, 8, "Timed out"


class Corrupt(HivemindError):
    """Stored bytes do not match their digest or signature. Never ignored, never repaired silently."""

    code, status, exit_code, title = "corrupt", 500, 9, "Corrupt data"


def _tree(root: type[HivemindError]) -> dict[str, type[HivemindError]]:
    """A subclass that has no code of its own is known by its parent's, as its parent."""
    found: dict[str, type[HivemindError]] = {}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found | {root.code: root}


def from_code(code: str, message: str, hint: str = "") -> HivemindError:
    """The error that another process described by `code`; an unknown code becomes the base class."""
    return _tree(HivemindError).get(code, HivemindError)(message, hint=hint)


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'deploy'?`, or nothing when no known word is near: for hints."""
    import difflib

    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else ""
