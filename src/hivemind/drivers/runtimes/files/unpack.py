"""Unpacking a tar into a directory of a container, from whoever may send one.

What the archive says is checked where it is done, by the kernel: every name is opened below the directory by
descriptors, so neither `..`, nor a link in the archive, nor one that is put there meanwhile leads out of it. A file
is written beside its place and put there whole: a copy that breaks off leaves the old one.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from hivemind.drivers.runtimes.files import flow, within
from hivemind.drivers.runtimes.files.owners import SAME, Owners
from hivemind.drivers.runtimes.oci import kernel
from hivemind.errors import Invalid

_BLOCK = 1 << 18
_MOST_ENTRIES = 2_000_000
_MOST_HEADERS = 4 << 20
"""Bytes that may come between two files: names, links and lists of holes. The library would read any number."""
_ROOT = PurePosixPath(".")


async def write_tar(root: int, path: str, chunks: AsyncIterator[bytes], owners: Owners = SAME) -> None:
    """Unpacks into the directory `path` below the one open as `root`, which may be closed when this returns.

    Who owns what is as in the archive. Files that are there are replaced, links never followed outside `path`.
    Raises `NotFound` for `path`, `Invalid` for what would land outside, is a device, or is no tar at all;
    `Unavailable` when the disk is full. What came before stays."""
    await flow.inward(chunks, partial(_unpack, os.dup(root), path, owners))


def _unpack(root: int, path: str, owners: Owners, source: int) -> None:
    try:
        owners.act_as_root()
        with within.plainly(path):
            top = within.open_directory(root, path)
        try:
            if within.is_made_up(top):
                raise Invalid(f"{path} is made up by the kernel, so nothing can be copied there")
            _Unpacker(top, is_root=os.path.samestat(os.fstat(top), os.fstat(root)), owners=owners).all(source)
        finally:
            os.close(top)
    finally:
        os.close(root)


class _Source:
    """What the tar reader reads from. It is told how much may come until the next file begins."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.allowed = _MOST_HEADERS

    def read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size and (data := os.read(self._fd, size - len(found))):
            found += data
        self.allowed -= len(found)
        if self.allowed < 0:
            raise Invalid("a name in the archive is absurdly long", hint="make the archive with tar(1)")
        return bytes(found)


class _Unpacker:
    def __init__(self, top: int, *, is_root: bool, owners: Owners) -> None:
        self._top = top
        # In the container's own root directory a link is followed as the container does; elsewhere only if it stays.
        self._how = kernel.RESOLVE_IN_ROOT if is_root else kernel.RESOLVE_BENEATH
        self._owners = owners

    def all(self, fd: int) -> None:
        source = _Source(fd)
        try:
            with tarfile.open(fileobj=source, mode="r|", bufsize=tarfile.RECORDSIZE) as archive:  # type: ignore[call-overload]
                count = 0
                while (info := archive.next()) is not None:
                    if (count := count + 1) > _MOST_ENTRIES:
                        raise Invalid(f"the archive has more than {_MOST_ENTRIES} files")
                    source.allowed = info.size + _MOST_HEADERS
                    with within.plainly(info.name):
                        self._entry(archive, info)
                    source.allowed = _MOST_HEADERS
                    archive.members.clear()  # it would remember every one
        except (tarfile.TarError, EOFError, UnicodeError, ValueError, OverflowError) as error:
            raise Invalid(
                f"this is no whole tar archive: {error}", hint="make it with: tar c FILE…"
            ) from error
        while os.read(fd, _BLOCK):  # what follows the end of an archive is padding
            pass

    def _entry(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        place = self._inside(info.name)
        if place == _ROOT:
            return  # the directory itself, which is not the archive's to change
        parent = self._parent(place.parent)
        try:
            owner = self._owners.outside(info.uid, info.gid)
            if owner is None:
                raise Invalid(
                    f"{info.name} belongs to user {info.uid}:{info.gid}, whom the container does not have",
                    hint="make the archive with --owner=0 --group=0",
                )
            if info.isdir():
                self._directory(parent, place.name, info, owner)
            elif info.isfile():
                self._file(archive, parent, place.name, info, owner)
            elif info.issym():
                self._beside(
                    parent, place.name, owner, lambda name: os.symlink(info.linkname, name, dir_fd=parent)
                )
            elif info.islnk():
                self._hard_link(parent, place.name, info)
            else:
                raise Invalid(
                    f"{info.name} is a device or a pipe, which is not copied into containers",
                    hint="leave it out of the archive",
                )
        finally:
            os.close(parent)

    def _inside(self, name: str) -> PurePosixPath:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in name:
            raise Invalid(f"{name!r} would land outside the directory", hint="names must not have .. in them")
        return PurePosixPath(*parts) if parts else _ROOT

    def _parent(self, place: PurePosixPath) -> int:
        """Makes what is missing on the way, as the container's root."""
        flags = os.O_RDONLY | os.O_DIRECTORY
        with suppress(FileNotFoundError):
            return kernel.open_below(self._top, str(place), flags, self._how)
        at = os.dup(self._top)
        reached = _ROOT
        for part in place.parts:
            reached /= part
            try:
                inner = kernel.open_below(self._top, str(reached), flags, self._how)
            except FileNotFoundError:
                try:
                    os.mkdir(part, 0o755, dir_fd=at)  # where a link to nowhere is this fails
                    inner = os.open(part, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
                    self._own(inner, self._owners.outside(0, 0) or (0, 0))
                except OSError:
                    os.close(at)
                    raise
            except OSError:
                os.close(at)
                raise
            os.close(at)
            at = inner
        return at

    def _directory(self, parent: int, name: str, info: tarfile.TarInfo, owner: tuple[int, int]) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
                return  # a link to something else than a directory is met by what comes inside it
            raise Invalid(
                f"{info.name} is {within.kind_of(mode)} in the container, and a directory in the archive",
                hint="remove it there first, or copy to another place",
            ) from None
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            self._own(fd, owner)
            os.fchmod(fd, info.mode & 0o7777)
        finally:
            os.close(fd)

    def _file(
        self, archive: tarfile.TarFile, parent: int, name: str, info: tarfile.TarInfo, owner: tuple[int, int]
    ) -> None:
        draft = _draft()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(draft, flags, 0o600, dir_fd=parent)
        try:
            _fill(fd, archive, info)
            self._own(fd, owner)
            os.fchmod(fd, info.mode & 0o7777)
            os.utime(fd, (info.mtime, info.mtime))
            try:
                os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
                draft = ""
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise _in_the_way(error, info.name) from error
                _overwrite(parent, name, fd)  # a single file that is mounted there, like /etc/hosts
        finally:
            os.close(fd)
            if draft:
                with suppress(OSError):
                    os.unlink(draft, dir_fd=parent)

    def _hard_link(self, parent: int, name: str, info: tarfile.TarInfo) -> None:
        """Only to a file below the same directory, and to no link: its own name is no way out either."""
        target = str(self._inside(info.linkname))
        fd = kernel.open_below(
            self._top, target, os.O_PATH | os.O_NOFOLLOW, kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS
        )
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Invalid(f"{info.name} is a hard link to {info.linkname}, which is no file")
            draft = _draft()
            os.link(f"/proc/self/fd/{fd}", draft, dst_dir_fd=parent, follow_symlinks=True)
            self._put(parent, draft, name, info.name)
        finally:
            os.close(fd)

    def _beside(self, parent: int, name: str, owner: tuple[int, int], make: Any) -> None:
        draft = _draft()
        make(draft)
        with suppress(PermissionError):
            os.chown(draft, *owner, dir_fd=parent, follow_symlinks=False)
        self._put(parent, draft, name, name)

    def _put(self, parent: int, draft: str, name: str, told: str) -> None:
        try:
            os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError as error:
            raise _in_the_way(error, told) from error
        finally:
            with suppress(OSError):  # still there also when both were the same file already
                os.unlink(draft, dir_fd=parent)

    def _own(self, fd: int, owner: tuple[int, int]) -> None:
        """A daemon without rights over others' files keeps what it makes."""
        if os.geteuid() == 0:
            os.fchown(fd, *owner)


def _fill(fd: int, archive: tarfile.TarFile, info: tarfile.TarInfo) -> None:
    data: Any = archive.fileobj  # it stands at the file's first byte; what is no hole follows without gaps
    sparse: Any = info.sparse if info.issparse() else None
    stretches: list[tuple[int, int]] = [(0, info.size)] if sparse is None else sparse
    for start, size in stretches:
        if start < 0 or size < 0 or start + size > info.size:
            raise Invalid(f"the list of holes of {info.name} makes no sense")
        os.lseek(fd, start, os.SEEK_SET)
        while size:
            block = data.read(min(size, _BLOCK))
            if not block:
                raise Invalid(f"the archive ends in the middle of {info.name}")
            view = memoryview(block)
            while view:
                view = view[os.write(fd, view) :]
            size -= len(block)
    os.ftruncate(fd, info.size)


def _overwrite(parent: int, name: str, source: int) -> None:
    thing = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if not stat.S_ISREG(os.fstat(thing).st_mode):
            raise Invalid(f"{name} is a mount in the container, and cannot be replaced")
        target = within.reopen(thing, os.O_WRONLY)
    finally:
        os.close(thing)
    try:
        os.ftruncate(target, 0)
        os.lseek(source, 0, os.SEEK_SET)
        while os.sendfile(target, source, None, _BLOCK):
            pass
    finally:
        os.close(target)


def _in_the_way(error: OSError, name: str) -> Exception:
    if error.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
        return Invalid(
            f"{name} is a directory or a mount in the container, and something else in the archive",
            hint="remove it there first, or copy to another place",
        )
    return error


def _draft() -> str:
    return f".hivemind-{os.urandom(8).hex()}"
