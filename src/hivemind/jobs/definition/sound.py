"""Definitions that were found to have no mistake. Looking through thousands of tasks takes a second: whoever puts a
job has that done beside the event loop, and when the definition is agreed it is only recognised.

What is sound follows from the definition and the routines alone, so it makes no difference who has looked before.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b

from hivemind.jobs.library import Library
from hivemind.model.base import encode
from hivemind.model.job import JobSpec

_KEPT = 8
_sound: deque[tuple[bytes, Library | None]] = deque(maxlen=_KEPT)
"""Fingerprints of definitions, with the routines that they were checked against."""


def fingerprint(spec: JobSpec) -> bytes:
    return blake2b(encode(spec), digest_size=32).digest()


def is_sound(print: bytes, library: Library | None) -> bool:
    """Whether it was found so lately, among the same routines."""
    return (print, library) in tuple(_sound)  # a copy: others may be noting theirs in other threads


def note_sound(print: bytes, library: Library | None) -> None:
    _sound.append((print, None if library is None else dict(library)))
