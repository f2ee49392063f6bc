"""A tar of a file or directory inside a container, written as it is read: nothing is kept but the open directories.

Written are files (with their holes), directories and links; devices, sockets and pipes are left out, and so is what
the kernel makes up (/proc, /sys). Files change while they are read: one that shrinks is filled up with zeros, of one
that grows only the size that was announced is written.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Iterator
from functools import partial

from hivemind.drivers.runtimes.files import flow, within
from hivemind.drivers.runtimes.files.as_user import Identity, become
from hivemind.drivers.runtimes.files.owners import SAME, Owners
from hivemind.errors import Invalid

_BLOCK = 1 << 18
_DEEPEST = 256
_MOST_HOLES = 10_000
"""In a file with more of them they are written as zeros: their list would not fit into memory."""


def read_tar(
    root: int, path: str, owners: Owners = SAME, *, reader: Identity | None = None
) -> AsyncIterator[bytes]:
    """A tar of `path` below the directory open as `root`, which may be closed at once. The first name is the last
    part of `path`. Links on the way are followed inside the root; `path` itself, if it is a link, is told as one.
    `reader`: nothing is read that this user may not read.

    Raises `NotFound`, `Invalid`."""
    return flow.outward(partial(_pack, os.dup(root), path, owners, reader))


def _pack(root: int, path: str, owners: Owners, reader: Identity | None, out: int) -> None:
    try:
        if reader is not None:
            become(reader)
        with within.plainly(path):
            top = within.open_name(root, path)
        try:
            if within.is_made_up(top):
                raise Invalid(
                    f"{path} is made up by the kernel as it is read, so it cannot be copied",
                    hint="read it inside: hivemind exec TARGET cat FILE",
                )
            state = os.fstat(top)
            if not _is_told(state.st_mode):
                raise Invalid(f"{path} is {within.kind_of(state.st_mode)}, which cannot be copied")
            name = os.path.basename(path.rstrip("/")) or "."
            _Packer(out, owners).add(top, name, state)
            _write(out, bytes(2 * tarfile.BLOCKSIZE))
        finally:
            os.close(top)
    finally:
        os.close(root)


class _Packer:
    def __init__(self, out: int, owners: Owners) -> None:
        self._out = out
        self._owners = owners

    def add(self, fd: int, name: str, state: os.stat_result, depth: int = 0) -> None:
        """`fd`: an O_PATH descriptor."""
        info = self._header(name, state)
        if stat.S_ISDIR(state.st_mode):
            info.type = tarfile.DIRTYPE
            self._put(info)
            self._inner(fd, name, depth)
        elif stat.S_ISLNK(state.st_mode):
            info.type = tarfile.SYMTYPE
            info.linkname = os.readlink("", dir_fd=fd)
            self._put(info)
        else:
            self._file(fd, info, state)

    def _inner(self, fd: int, name: str, depth: int) -> None:
        if within.is_made_up(fd):
            return
        if depth >= _DEEPEST:
            raise Invalid(f"{name} is more than {_DEEPEST} directories deep", hint="copy a part of it")
        directory = within.reopen(fd, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for entry in sorted(os.listdir(directory)):
                try:
                    inner = os.open(entry, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                except FileNotFoundError:  # removed meanwhile
                    continue
                try:
                    state = os.fstat(inner)
                    if _is_told(state.st_mode):
                        self.add(inner, f"{name}/{entry}", state, depth + 1)
                finally:
                    os.close(inner)
        finally:
            os.close(directory)

    def _file(self, fd: int, info: tarfile.TarInfo, state: os.stat_result) -> None:
        with within.plainly(info.name):
            file = within.reopen(fd, os.O_RDONLY)
        try:
            data = _data(file, state)
            if data is None:
                info.size = state.st_size
                self._put(info)
                self._copy(file, 0, state.st_size)
                written = state.st_size
            else:
                map_ = _map(data)
                info.pax_headers = {
                    "GNU.sparse.major": "1",
                    "GNU.sparse.minor": "0",
                    "GNU.sparse.name": info.name,
                    "GNU.sparse.realsize": str(state.st_size),
                }
                written = info.size = len(map_) + sum(size for _, size in data)
                self._put(info)
                _write(self._out, map_)
                for start, size in data:
                    self._copy(file, start, size)
            _write(self._out, bytes(-written % tarfile.BLOCKSIZE))
        finally:
            os.close(file)

    def _copy(self, file: int, start: int, size: int) -> None:
        while size:
            block = os.pread(file, min(size, _BLOCK), start)
            if not block:
                block = bytes(min(size, _BLOCK))
            _write(self._out, block)
            start, size = start + len(block), size - len(block)

    def _header(self, name: str, state: os.stat_result) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.mode = stat.S_IMODE(state.st_mode)
        info.mtime = int(state.st_mtime)
        info.uid, info.gid = self._owners.inside(state.st_uid, state.st_gid)
        return info

    def _put(self, info: tarfile.TarInfo) -> None:
        _write(self._out, info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))


def _is_told(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _data(file: int, state: os.stat_result) -> list[tuple[int, int]] | None:
    """Where a file with holes has data: start and size. None: it has no holes worth telling."""
    if state.st_blocks * 512 >= state.st_size:
        return None
    found: list[tuple[int, int]] = []
    for start, end in _stretches(file, state.st_size):
        found.append((start, end - start))
        if len(found) > _MOST_HOLES:
            return None
    if sum(size for _, size in found) == state.st_size:
        return None
    return [*found, (state.st_size, 0)]  # how long it is, should it end with a hole


def _stretches(file: int, size: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < size:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        at = min(os.lseek(file, start, os.SEEK_HOLE), size)
        if start >= size:
            return
        yield start, at


def _map(data: list[tuple[int, int]]) -> bytes:
    numbers = [len(data), *(number for pair in data for number in pair)]
    text = "".join(f"{number}\n" for number in numbers).encode()
    return text + bytes(-len(text) % tarfile.BLOCKSIZE)


def _write(out: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]
