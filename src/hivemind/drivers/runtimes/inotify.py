"""File system changes as the kernel tells them (inotify), for asyncio, without a thread or a poll.

A watcher has one consumer. The kernel drops events when nobody reads for long; then one event with
`Q_OVERFLOW` and watch -1 comes, and the consumer must look at everything once.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from hivemind.errors import NotFound, Unavailable

MODIFY = 0x2
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
Q_OVERFLOW = 0x4000
IGNORED = 0x8000

_HEADER = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Change(NamedTuple):
    wd: int
    mask: int
    name: str
    """Of the entry inside a watched directory; empty when the watched file itself changed."""


class Inotify:
    """Made inside a running event loop; `close` ends the iteration."""

    def __init__(self) -> None:
        self._fd: int = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise _refusal("start watching files")
        self._changes: deque[Change] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def add(self, path: Path | str, mask: int) -> int:
        """Watches `path`; the watch number. Raises `NotFound` when it is not there."""
        wd: int = _libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask))
        if wd < 0:
            raise _refusal(f"watch {path}")
        return wd

    def remove(self, wd: int) -> None:
        """Ends one watch; nothing happens when it ended already (its file is gone)."""
        if self._fd >= 0:
            _libc.inotify_rm_watch(self._fd, wd)

    def close(self) -> None:
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._wake()

    async def __aiter__(self) -> AsyncIterator[Change]:
        while True:
            while self._changes:
                yield self._changes.popleft()
            if self._fd < 0:
                return
            self._waiting = self._loop.create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            wd, mask, _, size = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            self._changes.append(Change(wd, mask, os.fsdecode(data[at : at + size].rstrip(b"\0"))))
            at += size
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def _refusal(what: str) -> NotFound | Unavailable:
    code = ctypes.get_errno()
    if code in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"cannot {what}: it does not exist")
    hint = ""
    if code in (errno.EMFILE, errno.ENOSPC):
        hint = "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches with sysctl"
    return Unavailable(f"cannot {what}: {os.strerror(code)}", hint=hint)
