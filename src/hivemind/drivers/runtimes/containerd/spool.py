"""A container's output on its way into its log.

containerd's shim appends what it reads to two plain files, one for each stream, whether a daemon runs or not: so
nothing is lost and the container never waits. Whatever daemon runs then takes it from there (`Spool.pump`) into
the log that `logs` reads, with times, rotated by size, and gives the space back by making holes: the files are as
long as all that was ever written, but occupy only what is not taken yet.

A line's time is when its stream was last written to at the time it was taken: milliseconds after it was written
while a daemon runs. Lines written while none ran all have the time of the last one of them.

Everything is taken once, even if the daemon is killed in between or the one before has not ended yet: a small
file, locked meanwhile, says how long the log was after so much of each stream. What the log has beyond that comes
from a step that was cut off, which is done again.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import Literal

from hivemind.drivers.runtimes.logfile import LogFile

Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, ...] = ("stdout", "stderr")
_STEP = 1 << 16
_HOLE = 1 << 20
"""Bytes that are taken before their space is given back."""
_MARK = struct.Struct("<QQQQQ")
"""Bytes taken of each stream; inode and size of the log then; time of the last line."""
_PUNCH_HOLE, _KEEP_SIZE = 0x02, 0x01
_libc = ctypes.CDLL(None, use_errno=True)


class Reader:
    """Somebody who also wants the streams as they come, each from a place on: that much is kept."""

    def __init__(self, spool: Spool, at: dict[Stream, int]) -> None:
        self.at = at
        self.news = asyncio.Event()
        self._spool = spool
        spool.readers.append(self)

    def read(self) -> tuple[Stream, bytes] | None:
        """What is there, if anything."""
        for stream in STREAMS:
            try:
                fd = os.open(self._spool.paths[stream], os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                data = os.pread(fd, _STEP, self.at[stream])
            finally:
                os.close(fd)
            if data:
                self.at[stream] += len(data)
                return stream, data
        return None

    def close(self) -> None:
        if self in self._spool.readers:
            self._spool.readers.remove(self)
        self.news.set()


class Spool:
    """The files of one container in `directory`."""

    def __init__(self, directory: Path, *, max_size: int, max_files: int) -> None:
        self.paths = self.paths_in(directory)
        self.log = directory / "log"
        self._mark = directory / "taken"
        self._max_size, self._max_files = max_size, max_files
        self._kept: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        self._whole = False
        self.readers: list[Reader] = []

    @staticmethod
    def paths_in(directory: Path) -> dict[Stream, Path]:
        return {stream: directory / f"{stream}.spool" for stream in STREAMS}

    def make(self) -> None:
        """Before the container is: the shim opens what is there."""
        for path in self.paths.values():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640))
        os.close(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640))

    def sizes(self) -> dict[Stream, int]:
        return {stream: path.stat().st_size for stream, path in self.paths.items()}

    def pump(self) -> bool:
        """Takes a part of what is there; whether there is more. Raises `OSError` (a full disk): then what was not
        taken stays where it is."""
        try:
            mark = os.open(self._mark, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except FileNotFoundError:  # the container was removed
            return False
        try:
            fcntl.flock(mark, fcntl.LOCK_EX)
            return self._step(mark)
        finally:
            os.close(mark)

    def drain(self) -> None:
        """Takes all that is there. Blocks."""
        while self.pump():
            pass

    def tell(self) -> None:
        """There may be news, or an end."""
        for reader in self.readers:
            reader.news.set()

    def _step(self, mark: int) -> bool:
        raw = os.pread(mark, _MARK.size, 0)
        *taken, inode, size, last = _MARK.unpack(raw) if len(raw) == _MARK.size else (0, 0, 0, 0, 0)
        if not self._whole:
            self._close_gap()
            self._whole = True
        self._undo(inode, size)
        more = False
        for index, stream in enumerate(STREAMS):
            data, written = self._read(stream, taken[index])
            if not data:
                continue
            last = max(last, written)
            log = LogFile(str(self.log), self._max_size, self._max_files)
            try:
                log.write(stream.encode(), data, last)
            finally:
                log.close()
            taken[index] += len(data)
            found = self.log.stat()
            os.pwrite(mark, _MARK.pack(*taken, found.st_ino, found.st_size, last), 0)
            self._give_back(stream, taken[index])
            more = more or len(data) == _STEP
        return more

    def _close_gap(self) -> None:
        """A rotation that was cut off has left a number out, and whoever reads would stop there."""
        older = [self.log.with_name(f"log.{number}") for number in range(1, self._max_files)]
        there = [path for path in older if path.exists()]
        for path, place in zip(there, older, strict=False):
            if path != place:
                path.rename(place)

    def _undo(self, inode: int, size: int) -> None:
        """A step that was cut off wrote to the end of the log, or began a new one."""
        try:
            found = self.log.stat()
        except FileNotFoundError:
            return
        right = size if found.st_ino == inode else 0
        if found.st_size > right:
            os.truncate(self.log, right)

    def _read(self, stream: Stream, taken: int) -> tuple[bytes, int]:
        """What comes next, and the time it was written at the latest."""
        try:
            fd = os.open(self.paths[stream], os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b"", 0
        try:
            return os.pread(fd, _STEP, taken), os.fstat(fd).st_mtime_ns
        finally:
            os.close(fd)

    def _give_back(self, stream: Stream, taken: int) -> None:
        needed = min([taken, *(reader.at[stream] for reader in self.readers)])
        if needed - self._kept[stream] < _HOLE:
            return
        fd = os.open(self.paths[stream], os.O_WRONLY | os.O_CLOEXEC)
        try:
            punch_hole(fd, needed)
            self._kept[stream] = needed
        finally:
            os.close(fd)


def punch_hole(fd: int, end: int) -> None:
    """Frees what a file occupies before `end`, which then reads as zeros. Nothing happens where the file system
    has no holes."""
    mode = _PUNCH_HOLE | _KEEP_SIZE
    if _libc.fallocate(fd, mode, ctypes.c_longlong(0), ctypes.c_longlong(end)) < 0:
        code = ctypes.get_errno()
        if code not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise OSError(code, os.strerror(code))
