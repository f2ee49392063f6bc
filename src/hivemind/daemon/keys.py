"""Private keys on disk: made once, readable by their owner alone."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from hivemind.errors import Corrupt, Unavailable
from hivemind.security.identity import Identity
from hivemind.security.sealing import Vault


def identity(path: Path) -> Identity:
    """The signing key at `path`, made when there is none."""
    return Identity(secret(path))


def vault(path: Path) -> Vault:
    """What opens the hive's secrets, by the key at `path`, made when there is none."""
    return Vault(secret(path))


def secret(path: Path) -> bytes:
    """The 32 bytes at `path`, made when there are none. A crash leaves a whole key or no key."""
    try:
        if not path.exists():
            _make(path)
        seed = path.read_bytes()
    except OSError as error:
        raise Unavailable(f"the key {path} cannot be read or made: {error.strerror}") from None
    if len(seed) != 32:
        raise Corrupt(
            f"the key {path} is damaged: it has {len(seed)} bytes, not 32", hint="restore it from a backup"
        )
    return seed


def put(path: Path, seed: bytes) -> None:
    """Another key takes the place of the one at `path`: at every moment one of both is there, whole."""
    aside = _aside(path, seed)
    os.replace(aside, path)
    _settle(path)


def _make(path: Path) -> None:
    """Written aside and then given its name, unless another daemon was faster: then that one's is the key."""
    aside = _aside(path, os.urandom(32))
    try:
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        os.unlink(aside)
    _settle(path)


def _aside(path: Path, seed: bytes) -> Path:
    aside = path.with_suffix(f".{os.getpid()}-{os.urandom(4).hex()}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, seed)
        os.fsync(handle)
    except BaseException:
        os.unlink(aside)
        raise
    finally:
        os.close(handle)
    return aside


def _settle(path: Path) -> None:
    """A name is durable once its directory is."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
