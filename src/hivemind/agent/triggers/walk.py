"""Walking the files that a pattern means, without ever following a link.

What lies in a volume is a container's to arrange: a link in it, put there in the very moment, must not lead the
daemon elsewhere. So each directory is opened from the one above it, and looked at through that handle.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from hivemind.agent.triggers.pattern import Pattern

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILES_LIMIT = 1_000_000


class Found(NamedTuple):
    """A file as it is. Whatever is written to it makes it another."""

    path: str
    """From the top, without a slash at the beginning."""
    inode: int
    size: int
    modified: int
    """Nanoseconds."""
    changed: int
    """Nanoseconds: when it came to be here, or was written to, or was renamed."""


Visit = Callable[[str, str, frozenset[int]], None]
"""A directory is being looked at: by what name it can be watched, its path from the top, its place in the pattern."""


def walk(top: str, pattern: Pattern, visit: Visit) -> list[Found]:
    """All files below `top` that are meant. `visit` is called for each directory before its entries are read, so that
    a watch set by it misses nothing. What vanishes meanwhile, or may not be read, is passed over."""
    try:
        root = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return []
    found: list[Found] = []
    _walk(root, "", pattern.top, pattern, visit, found)
    return found


def look(top: str, path: str) -> Found | None:
    """One file; None when no regular file is there (any more), or a link is on the way."""
    *folders, name = path.split("/")
    try:
        handle = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        for folder in folders:
            inner = os.open(folder, _DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = inner
        return _found(path, os.stat(name, dir_fd=handle, follow_symlinks=False))
    except OSError:
        return None
    finally:
        os.close(handle)


def _walk(
    handle: int, path: str, place: frozenset[int], pattern: Pattern, visit: Visit, found: list[Found]
) -> None:
    """Closes `handle`."""
    try:
        visit(f"/proc/self/fd/{handle}", path, place)
        folders = []
        with os.scandir(handle) as entries:
            for entry in entries:
                there = pattern.below(place, entry.name)
                if not there or len(found) >= _FILES_LIMIT:
                    continue
                inside = f"{path}/{entry.name}" if path else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if pattern.goes_on(there):
                        folders.append((entry.name, inside, there))
                elif pattern.means(there) and (file := _entry(inside, entry)):
                    found.append(file)
        for name, inside, there in folders:
            try:
                inner = os.open(name, _DIRECTORY, dir_fd=handle)
            except OSError:
                continue
            _walk(inner, inside, there, pattern, visit, found)
    except OSError:
        pass  # It went while it was looked at.
    finally:
        os.close(handle)


def _entry(path: str, entry: os.DirEntry[str]) -> Found | None:
    try:
        return _found(path, entry.stat(follow_symlinks=False))
    except OSError:
        return None


def _found(path: str, seen: os.stat_result) -> Found | None:
    if not stat.S_ISREG(seen.st_mode):
        return None
    return Found(path, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
