"""Tar archives as `cp` sends and receives them: written and unpacked as they come.

What comes from a container is not trusted: below the place that the person named no link is followed, also none
that an earlier copy brought, and nothing but files, directories and links is made.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any, cast

from hivemind.errors import Invalid, Unavailable

_BLOCK = 1 << 18
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Stream:
    """Counts what goes through."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            yield chunk


class _Reader:
    """What `tarfile` reads from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        found = [self._rest]
        have = len(self._rest)
        while have < size and (chunk := next(self._chunks, b"")):
            found.append(chunk)
            have += len(chunk)
        whole = b"".join(found)
        self._rest = whole[size:]
        return whole[:size]

    def close(self) -> None:
        if (close := getattr(self._chunks, "close", None)) is not None:
            close()


class Incoming(tarfile.TarFile):
    """Closing it also leaves the answer that it comes from."""

    source: _Reader

    def close(self) -> None:
        super().close()
        self.source.close()


def stream_of(chunks: Iterator[bytes]) -> Incoming:
    """Raises what fetching the first piece raises."""
    reader = _Reader(chunks)
    try:
        incoming = Incoming.open(fileobj=cast(IO[bytes], reader), mode="r|")
    except tarfile.TarError as error:
        raise Unavailable(f"what came is no archive: {error}", hint="ask again") from error
    incoming.source = reader
    return incoming


def unpack(archive: Incoming, first: tarfile.TarInfo, directory: str, name: str, *, owners: bool) -> int:
    """Into `directory`, the first entry as `name` (empty: it is `directory`). The bytes of all files.

    `owners`: keep whose they are, if this person may give them away."""
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    prefix = first.name
    size = 0
    late: list[tuple[str, tarfile.TarInfo]] = []
    try:
        info: tarfile.TarInfo | None = first
        while info is not None:
            inner = info.name[len(prefix) :].strip("/")
            place = "/".join(part for part in (name, inner) if part)
            size += _entry(archive, top, place, info, owners=owners)
            if info.isdir() and place:
                late.append((place, info))
            info = archive.next()
        for place, info in reversed(late):
            _finish_directory(top, place, info)
    except tarfile.TarError as error:
        raise Unavailable(f"the copy broke off: {error}", hint="copy again") from error
    except OSError as error:
        raise Invalid(f"{error.filename or directory}: {error.strerror}", hint="see what is there") from error
    finally:
        os.close(top)
    return size


def _entry(archive: Incoming, top: int, place: str, info: tarfile.TarInfo, *, owners: bool) -> int:
    parts = place.split("/") if place else []
    if ".." in parts:
        raise Invalid(f"{info.name!r} leads out of the directory")
    if not parts:
        return 0
    parent = _descend(top, parts[:-1])
    name = parts[-1]
    try:
        if info.isdir():
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
            os.close(os.open(name, _DIRECTORY, dir_fd=parent))  # a link in its place is not followed
        elif info.issym():
            _cleared(parent, name)
            os.symlink(info.linkname, name, dir_fd=parent)
        elif info.isfile():
            _file(archive, parent, name, info)
        else:
            return 0
        if owners and os.geteuid() == 0:
            os.chown(name, info.uid, info.gid, dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(parent)
    return info.size


def _descend(top: int, parts: list[str]) -> int:
    at = os.dup(top)
    for part in parts:
        try:
            inner = os.open(part, _DIRECTORY, dir_fd=at)
        finally:
            os.close(at)
        at = inner
    return at


def _cleared(parent: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)


def _file(archive: Incoming, parent: int, name: str, info: tarfile.TarInfo) -> None:
    """Written beside its place and put there whole; into a link or a device that is there nothing is written."""
    draft = f".{name[:200]}.{os.urandom(4).hex()}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
    try:
        try:
            _fill(fd, archive, info)
            os.fchmod(fd, info.mode & 0o777)
            os.utime(fd, (info.mtime, info.mtime))
        finally:
            os.close(fd)
        os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=parent)
        raise


def _fill(fd: int, archive: Incoming, info: tarfile.TarInfo) -> None:
    data: Any = archive.fileobj  # it stands at the file's first byte; what is no hole follows without gaps
    sparse: Any = info.sparse if info.issparse() else None
    stretches: list[tuple[int, int]] = [(0, info.size)] if sparse is None else sparse
    for start, size in stretches:
        os.lseek(fd, start, os.SEEK_SET)
        while size > 0:
            block = data.read(min(size, _BLOCK))
            if not block:
                raise tarfile.ReadError("it ended too early")
            view = memoryview(block)
            while view:
                view = view[os.write(fd, view) :]
            size -= len(block)
    os.ftruncate(fd, info.size)


def _finish_directory(top: int, place: str, info: tarfile.TarInfo) -> None:
    """Last, so that a directory that nobody may write to can be filled."""
    fd = _descend(top, place.split("/"))
    try:
        os.fchmod(fd, info.mode & 0o777)
        os.utime(fd, (info.mtime, info.mtime))
    finally:
        os.close(fd)


def pack(path: str, name: str, *, owners: bool) -> Iterator[bytes]:
    """`path` as an archive whose first entry is called `name` (empty: only what is inside the directory).

    Everything belongs to root unless `owners` keeps whose it is. Devices, sockets and pipes are left out."""
    yield from _packed(path, name, owners=owners)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _packed(path: str, name: str, *, owners: bool) -> Iterator[bytes]:
    state = os.lstat(path)
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = stat.S_IMODE(state.st_mode), int(state.st_mtime)
    if owners:
        info.uid, info.gid = state.st_uid, state.st_gid
    if stat.S_ISDIR(state.st_mode):
        info.type = tarfile.DIRTYPE
        if name:
            yield _header(info)
        for entry in sorted(os.listdir(path)):
            inner = f"{name}/{entry}" if name else entry
            yield from _packed(os.path.join(path, entry), inner, owners=owners)
    elif stat.S_ISLNK(state.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
        yield _header(info)
    elif stat.S_ISREG(state.st_mode):
        with open(path, "rb") as file:
            info.size = os.fstat(file.fileno()).st_size
            yield _header(info)
            yield from _content(file, info.size)


def _content(file: io.BufferedReader, size: int) -> Iterator[bytes]:
    """Exactly so many bytes, whatever becomes of the file meanwhile."""
    left = size
    while left:
        block = file.read(min(left, _BLOCK)) or bytes(min(left, _BLOCK))
        yield block
        left -= len(block)
    yield bytes(-size % tarfile.BLOCKSIZE)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
