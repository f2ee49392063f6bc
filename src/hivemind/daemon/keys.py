"""Private keys on disk: made once, readable by their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

from hivemind.errors import Corrupt, Unavailable
from hivemind.security.identity import Identity


def identity(path: Path) -> Identity:
    """The key at `path`, made when there is none. A crash leaves a whole key or no key."""
    try:
        seed = path.read_bytes()
    except FileNotFoundError:
        seed = os.urandom(32)
        _write(path, seed)
    except OSError as error:
        raise Unavailable(f"the key {path} cannot be read: {error.strerror}") from None
    if len(seed) != 32:
        raise Corrupt(
            f"the key {path} is damaged: it has {len(seed)} bytes, not 32", hint="restore it from a backup"
        )
    return Identity(seed)


def _write(path: Path, seed: bytes) -> None:
    temporary = path.with_suffix(".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, seed)
        os.fsync(handle)
    finally:
        os.close(handle)
    os.rename(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
