"""Writing container logs: output to records, records to a file that rotates by size. Standard library only.

`logs.py` describes the format and reads it. A file is rotated between records, so every file holds whole
records; a line may go on in the next file.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache

_LONGEST = 16384
"""Bytes of text in one record, as in Kubernetes."""


@lru_cache(maxsize=2)
def _second(second: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()


def records(stream: bytes, data: bytes, now: int) -> bytes:
    """The records for what was read from `stream` (`b"stdout"`, `b"stderr"`) at `now`, nanoseconds since 1970."""
    whole, part = b" %b F " % stream, b" %b P " % stream
    stamp = b"%b.%09dZ" % (_second(now // 10**9), now % 10**9)
    lines = data.split(b"\n")
    last = lines.pop()
    out: list[bytes] = []
    for line in lines:
        while len(line) > _LONGEST:
            out.append(b"%b%b%b\n" % (stamp, part, line[:_LONGEST]))
            line = line[_LONGEST:]
        out.append(b"%b%b%b\n" % (stamp, whole, line))
    while last:
        out.append(b"%b%b%b\n" % (stamp, part, last[:_LONGEST]))
        last = last[_LONGEST:]
    return b"".join(out)


class LogFile:
    """The log of one container. Errors of the disk are the caller's to report; output is then lost, not the
    container."""

    def __init__(self, path: str, max_size: int, max_files: int) -> None:
        self._path, self._max_size, self._max_files = path, max_size, max_files
        self._fd = -1
        self._size = 0
        self._open()

    def write(self, stream: bytes, data: bytes, now: int) -> None:
        text = records(stream, data, now)
        if self._max_size and self._size and self._size + len(text) > self._max_size:
            self._rotate()
        view = memoryview(text)
        while view:
            view = view[os.write(self._fd, view) :]
        self._size += len(text)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        self.close()
        older = [f"{self._path}.{number}" for number in range(1, self._max_files)]
        for source, target in zip([self._path, *older][-2::-1], older[::-1], strict=True):
            if os.path.exists(source):
                os.replace(source, target)
        if not older:
            os.unlink(self._path)
        self._open()
