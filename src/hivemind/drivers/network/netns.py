"""Network namespaces, pinned by a bind mount so that they outlive whoever made them.

Everything here works on the calling thread, which must not be the event loop's: entering a namespace blocks
for moments, and a thread that could not come home must be given up (`Stranded`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_SHARED, _MNT_DETACH = 0x1000, 0x100000, 2

_libc = ctypes.CDLL(None, use_errno=True)


class Stranded(RuntimeError):
    """The thread could not return to its namespace; nothing may run on it any more."""


def prepare(directory: Path) -> None:
    """Makes `directory` a mount of its own whose unmounts reach other mount namespaces too.

    Without that a container's supervisor, started in a mount namespace of its own, would keep a copy of
    every pin, and with it the namespace, for as long as it lives."""
    directory.mkdir(parents=True, exist_ok=True)
    if not _is_mount(directory):
        _mount(directory, directory, _MS_BIND)
    _mount(None, directory, _MS_SHARED)


def release(directory: Path) -> None:
    """Undoes `prepare` and removes the empty directory."""
    _unmount(directory)
    try:
        directory.rmdir()
    except FileNotFoundError:
        pass


def create(pin: Path, inside: Callable[[], T]) -> T:
    """A new namespace pinned at `pin`; returns what `inside` returned, which ran in it.

    When anything fails nothing stays behind."""
    pin.touch(mode=0o444, exist_ok=False)
    try:
        with _returning():
            _check(_libc.unshare(_CLONE_NEWNET), "make a network namespace")
            result = inside()
            _mount(_own(), pin, _MS_BIND)
    except BaseException:
        delete(pin)
        raise
    return result


def delete(pin: Path) -> None:
    """Unpins; the kernel takes the namespace and its links apart once nothing runs in it. Idempotent."""
    _unmount(pin)
    pin.unlink(missing_ok=True)


def is_pinned(pin: Path) -> bool:
    """Whether a namespace is mounted there, not just the file that a crash or a reboot left."""
    try:
        return pin.stat().st_dev == os.stat("/proc/self/ns/net").st_dev
    except FileNotFoundError:
        return False


@contextmanager
def entered(path: Path | str) -> Iterator[None]:
    """The calling thread is in that namespace meanwhile; sockets opened there belong to it for good."""
    with _returning():
        target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(target, _CLONE_NEWNET), f"enter {path}")
        finally:
            os.close(target)
        yield


@contextmanager
def _returning() -> Iterator[None]:
    home = os.open(_own(), os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        returned = _libc.setns(home, _CLONE_NEWNET)
        number = ctypes.get_errno()
        os.close(home)
        if returned:
            raise Stranded(f"cannot return to the own network namespace: {os.strerror(number)}")


def _own() -> Path:
    return Path(f"/proc/self/task/{threading.get_native_id()}/ns/net")


def _is_mount(directory: Path) -> bool:
    """Unlike `os.path.ismount` this sees a directory that is mounted on itself."""
    wanted = os.fsencode(directory.resolve())
    with open("/proc/self/mountinfo", "rb") as lines:
        return any(_unescaped(line.split()[4]) == wanted for line in lines)


def _unescaped(path: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), path)


def _mount(source: Path | None, target: Path, flags: int) -> None:
    raw = os.fsencode(source) if source else b"none"
    _check(_libc.mount(raw, os.fsencode(target), b"none", flags, None), f"mount {target}")


def _unmount(target: Path) -> None:
    """Every mount stacked there, however many a crash between two steps left."""
    while _libc.umount2(os.fsencode(target), _MNT_DETACH) == 0:
        pass
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOENT):
        raise OSError(number, f"cannot unmount {target}: {os.strerror(number)}")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot {what}: {os.strerror(number)}")
