"""Addresses that were good when the node ran last, in a file: asked first, so that a node finds its hive again though
all but one of them have become useless. Losing the file costs only time, so a damaged one counts as none."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from hivemind.transport.contract import Address
from hivemind.transport.discovery.contract import Finder

_logger = logging.getLogger(__name__)
_MOST = 256
_EVERY = 300.0
"""Seconds between two writings."""


class Cached(msgspec.Struct, frozen=True, kw_only=True):
    addresses: tuple[Address, ...] = ()
    """The best first."""


class Cache:
    """`good` says which addresses are good now, the best first."""

    def __init__(self, path: Path, good: Callable[[], list[Address]]) -> None:
        self._path, self._good = path, good
        self._known: tuple[Address, ...] = ()
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, finder: Finder) -> None:
        self._known = read(self._path)
        if self._known:
            finder.perhaps(self._known)
        self._again()

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
            self.write()

    def write(self) -> None:
        """Who did not answer this time may another time: it stays, behind the others."""
        kept = tuple(dict.fromkeys((*self._good(), *self._known)))[:_MOST]
        if kept == self._known:
            return
        aside = self._path.with_suffix(f".{os.getpid()}")
        try:
            aside.touch(mode=0o600)
            aside.write_bytes(msgspec.json.encode(Cached(addresses=kept)))
            aside.replace(self._path)
            self._known = kept
        except OSError as error:
            _logger.warning("where other nodes are cannot be kept in %s: %s", self._path, error.strerror)

    def _again(self) -> None:
        if self._timer:
            self.write()
        self._timer = asyncio.get_running_loop().call_later(_EVERY, self._again)


def read(path: Path) -> tuple[Address, ...]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cached).addresses[:_MOST]
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        _logger.warning("where other nodes were cannot be read from %s: %s", path, error)
        return ()
