"""One layer's tar becomes one directory that the kernel's overlay can stack.

Layers come from strangers, so nothing in them is trusted. Every path is walked from the target directory's
file descriptor one name at a time, without following links; a symbolic link among a path's parents is resolved
by hand with the target as its root, as it would be inside the container. `..`, absurd sizes and extended
attributes with which overlay itself could be fooled are refused. Whiteouts become what overlay understands:
`.wh.name` a character device 0:0, `.wh..wh..opq` the attribute `trusted.overlay.opaque`.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
from pathlib import Path
from typing import IO

from hivemind.drivers.images.blobs import DISK_FULL, write_all
from hivemind.drivers.images.limits import LIMITS, Limits
from hivemind.drivers.images.tarball import CHUNK, entries, opened
from hivemind.errors import Invalid, TooLarge, Unsupported

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
OVERLAY_OPAQUE = "trusted.overlay.opaque"
LINKS_LIMIT = 40
OPEN_LIMIT = 64
XATTR = "SCHILY.xattr."
DISK_FAULTS = (*DISK_FULL, errno.EROFS, errno.EIO)

Parts = tuple[str, ...]


def unpack(stream: IO[bytes], target: Path, limits: Limits = LIMITS) -> None:
    """Unpacks the plain tar that `stream` yields into the empty directory `target`.

    Raises `Invalid` (not a layer), `TooLarge` (more than `limits`), `Unsupported` (not root), and `OSError` for
    what is the disk's fault; the caller throws `target` away then."""
    unpacking = _Unpacking(target, limits)
    try:
        with opened(stream) as archive:
            for entry in entries(archive):
                unpacking.add(archive, entry)
        unpacking.finish()
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise Invalid(f"a layer is not a readable tar: {error}", hint="the image is damaged") from error
    except OSError as error:
        if error.errno in DISK_FAULTS:
            raise
        if error.errno == errno.EPERM:
            raise Unsupported(
                f"a layer cannot be unpacked: {error}", hint="keeping owners and devices needs root"
            ) from error
        raise Invalid(f"a layer cannot be unpacked: {error}", hint="the image is damaged") from error
    finally:
        unpacking.close()


class _Unpacking:
    def __init__(self, target: Path, limits: Limits) -> None:
        self.limits = limits
        self.bytes = self.entries = 0
        self.times: dict[Parts, float] = {}
        self.root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self.opened: dict[Parts, int] = {}

    def close(self) -> None:
        self._forget()
        os.close(self.root)

    def finish(self) -> None:
        """Directories get their times last: filling them had changed those."""
        for path, time in sorted(self.times.items(), reverse=True):
            os.utime(self._directory(path), ns=_times(time))

    # paths

    def _forget(self) -> None:
        for fd in self.opened.values():
            os.close(fd)
        self.opened.clear()

    def _directory(self, path: Parts) -> int:
        """A descriptor of a directory whose path is known to hold no links."""
        if not path:
            return self.root
        if (known := self.opened.get(path)) is not None:
            return known
        if len(self.opened) >= OPEN_LIMIT:
            self._forget()
        fd = self.root
        for depth, name in enumerate(path, 1):
            above, fd = fd, os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            if depth > 1:
                os.close(above)
        self.opened[path] = fd
        return fd

    def _resolve(self, parts: Parts) -> Parts:
        """`parts` without links, the target being "/"; directories that are missing are made."""
        if parts in self.opened:
            return parts
        path: Parts = ()
        todo, links = list(reversed(parts)), 0
        while todo:
            name = todo.pop()
            if name == "..":
                path = path[:-1]
                continue
            above = self._directory(path)
            mode = _mode(name, above)
            if stat.S_ISLNK(mode):
                links += 1
                if links > LINKS_LIMIT:
                    raise Invalid(f"a layer's path {'/'.join(parts)!r} runs in a circle of symbolic links")
                link = os.readlink(name, dir_fd=above)
                if link.startswith("/"):
                    path = ()
                todo += [step for step in reversed(link.split("/")) if step not in ("", ".")]
                continue
            path = (*path, name)
            if not stat.S_ISDIR(mode):
                self._make_directory(path)
        return path

    def _make_directory(self, path: Parts) -> None:
        """A directory that takes the place of a whiteout hides what lies below it."""
        above, name = self._directory(path[:-1]), path[-1]
        hidden = _is_whiteout(name, above)
        self._clear(path)
        os.mkdir(name, 0o755, dir_fd=above)
        if hidden:
            _set_opaque(name, above)

    def _clear(self, path: Parts) -> None:
        """Makes way for an entry that comes a second time as something else."""
        above, name = self._directory(path[:-1]), path[-1]
        mode = _mode(name, above)
        if stat.S_ISDIR(mode):
            for gone in [below for below in self.opened if below[: len(path)] == path]:
                os.close(self.opened.pop(gone))
            self.times = {below: time for below, time in self.times.items() if below[: len(path)] != path}
            shutil.rmtree(name, dir_fd=above)
        elif mode:
            os.unlink(name, dir_fd=above)

    # entries

    def add(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        self.entries += 1
        self.bytes += entry.size if entry.isreg() else 0
        if self.entries > self.limits.entries or self.bytes > self.limits.bytes:
            raise TooLarge(
                f"a layer unpacks to more than {self.limits.bytes} bytes or {self.limits.entries} files",
                hint="raise the limit if the image is to be trusted",
            )
        parts = _split(entry.name)
        if not parts:
            _own(self.root, entry)
            self.times[()] = entry.mtime
            return
        path = (*self._resolve(parts[:-1]), parts[-1])
        if parts[-1].startswith(WHITEOUT):
            self._whiteout(path)
        elif entry.isdir():
            self._add_directory(path, entry)
        elif entry.islnk():
            self._link(path, entry)
        elif entry.isreg():
            self._file(archive, entry, path)
        else:
            self._special(path, entry)

    def _add_directory(self, path: Parts, entry: tarfile.TarInfo) -> None:
        if not stat.S_ISDIR(_mode(path[-1], self._directory(path[:-1]))):
            self._make_directory(path)
        _own(self._directory(path), entry)
        self.times[path] = entry.mtime

    def _special(self, path: Parts, entry: tarfile.TarInfo) -> None:
        """A symbolic link, a pipe or a device."""
        self._clear(path)
        above, name = self._directory(path[:-1]), path[-1]
        if entry.issym():
            os.symlink(entry.linkname, name, dir_fd=above)
        elif entry.isfifo():
            os.mkfifo(name, 0o600, dir_fd=above)
        elif entry.ischr() or entry.isblk():
            _make_device(name, above, entry)
        else:
            raise Invalid(f"a layer's entry {entry.name!r} is of an unknown kind {entry.type!r}")
        os.chown(name, *_owner(entry), dir_fd=above, follow_symlinks=False)
        if not entry.issym():
            os.chmod(name, entry.mode & 0o7777, dir_fd=above)
        os.utime(name, ns=_times(entry.mtime), dir_fd=above, follow_symlinks=False)

    def _file(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Parts) -> None:
        above, name = self._directory(path[:-1]), path[-1]
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            fd = os.open(name, flags, 0o600, dir_fd=above)
        except FileExistsError:
            self._clear(path)
            fd = os.open(name, flags, 0o600, dir_fd=above)
        try:
            source = archive.extractfile(entry) if entry.size else None
            while source and (data := source.read(CHUNK)):
                write_all(fd, data)
            _own(fd, entry)
            os.utime(fd, ns=_times(entry.mtime))
        finally:
            os.close(fd)

    def _link(self, path: Parts, entry: tarfile.TarInfo) -> None:
        target = _split(entry.linkname)
        source = (*self._resolve(target[:-1]), *target[-1:])
        if not target or source == path:
            raise Invalid(f"a layer's hard link {entry.name!r} leads to itself or nowhere")
        mode = _mode(target[-1], self._directory(source[:-1]))
        if not mode or stat.S_ISDIR(mode):
            raise Invalid(
                f"a layer's hard link {entry.name!r} leads to {entry.linkname!r}, which is no file in it"
            )
        self._clear(path)
        above = os.dup(self._directory(path[:-1]))  # opening the other one may close it
        try:
            below = self._directory(source[:-1])
            os.link(source[-1], path[-1], src_dir_fd=below, dst_dir_fd=above, follow_symlinks=False)
        finally:
            os.close(above)

    def _whiteout(self, path: Parts) -> None:
        above, name = self._directory(path[:-1]), path[-1]
        hidden = name.removeprefix(WHITEOUT)
        if name == OPAQUE:
            os.setxattr(above, OVERLAY_OPAQUE, b"y")
        elif hidden.startswith(WHITEOUT):
            return  # aufs kept its own notes under such names
        elif hidden in ("", ".", ".."):
            raise Invalid(f"a layer hides {hidden!r}, which is no name")
        elif stat.S_ISDIR(mode := _mode(hidden, above)):
            _set_opaque(hidden, above)  # the layer itself put something new there
        elif not mode:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=above)


def _split(name: str) -> Parts:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts or "\0" in name:
        raise Invalid(
            f"a layer's path {name!r} leads out of the image", hint="do not trust where it came from"
        )
    return parts


def _mode(name: str, above: int) -> int:
    """0: nothing there."""
    try:
        return os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


def _is_whiteout(name: str, above: int) -> bool:
    try:
        status = os.stat(name, dir_fd=above, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _set_opaque(name: str, above: int) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    try:
        os.setxattr(fd, OVERLAY_OPAQUE, b"y")
    finally:
        os.close(fd)


def _owner(entry: tarfile.TarInfo) -> tuple[int, int]:
    if not (0 <= entry.uid < 2**32 - 1 and 0 <= entry.gid < 2**32 - 1):
        raise Invalid(f"a layer's entry {entry.name!r} belongs to {entry.uid}:{entry.gid}, which is nobody")
    return entry.uid, entry.gid


def _times(mtime: float) -> tuple[int, int]:
    time = int(min(max(mtime, 0.0), float(2**33)) * 1_000_000_000)
    return time, time


def _own(fd: int, entry: tarfile.TarInfo) -> None:
    """Owner, then mode, then attributes: each clears what comes after it."""
    os.fchown(fd, *_owner(entry))
    os.fchmod(fd, entry.mode & 0o7777)
    for key, value in entry.pax_headers.items():
        name = key.removeprefix(XATTR)
        if key.startswith(XATTR) and _kept(name):
            os.setxattr(fd, name, value.encode("utf-8", "surrogateescape"))


def _kept(attribute: str) -> bool:
    """Capabilities and people's own; not those by which overlay or the host's security would be steered."""
    own = attribute.startswith("user.") and not attribute.startswith("user.overlay.")
    return own or attribute == "security.capability"


def _make_device(name: str, above: int, entry: tarfile.TarInfo) -> None:
    if entry.ischr() and entry.devmajor == entry.devminor == 0:
        raise Invalid(f"a layer's entry {entry.name!r} is a whiteout in disguise")
    kind = stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
    os.mknod(name, kind | 0o600, os.makedev(entry.devmajor, entry.devminor), dir_fd=above)
