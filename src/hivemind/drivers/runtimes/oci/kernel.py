"""The few Linux calls that Python's library lacks, by name, with `OSError` for a refusal. Kernel 5.6 or newer."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

CLONE_NEWNS = 0x00020000
CLONE_FS = 0x00000200

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2

_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
# These numbers are the same on every architecture: the calls are younger than the common table.
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442
_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_NOSYMFOLLOW = 0x00200000
_ATTEMPTS = 100

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    _check(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, fstype: str = "", flags: int = 0, options: str = "") -> None:
    done = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        fstype.encode() or None,
        ctypes.c_ulong(flags),
        os.fsencode(options) or None,
    )
    _check(done, f"mount {target}")


def umount(target: str) -> None:
    """Detaches the topmost mount at `target` now; the kernel frees it when its last user is gone."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def clone_tree(path: str, *, recursive: bool = True) -> int:
    """A descriptor of a copy of the mounts at `path`, not attached anywhere yet: it may be attached in another
    mount namespace, which a plain bind mount cannot do."""
    flags = _OPEN_TREE_CLONE | (_AT_RECURSIVE if recursive else 0) | os.O_CLOEXEC
    return _check(_libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags), f"open_tree {path}")


def attach_tree(tree: int, target: str) -> None:
    done = _libc.syscall(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    _check(done, f"move_mount {target}")


def make_readonly(tree: int) -> None:
    """A copied tree with all that is mounted in it; nothing happens on a kernel that cannot (older than 5.12)."""
    request = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    done = _libc.syscall(_SYS_MOUNT_SETATTR, tree, b"", flags, request, len(request))
    if done >= 0 or ctypes.get_errno() != errno.ENOSYS:
        _check(done, "mount_setattr")


def follow_no_links(tree: int) -> None:
    """On that mount, from `clone_tree`, no symbolic link is followed any more. Linux 5.14."""
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_NOSYMFOLLOW, 0, 0, 0)
    done = _libc.syscall(_SYS_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attributes, len(attributes))
    _check(done, "mount_setattr")


def open_in_root(root: int, path: str, flags: int) -> int:
    """Opens `path` as a process with that root directory would: no symbolic link leads outside."""
    return open_below(root, path, flags, RESOLVE_IN_ROOT)


def open_below(directory: int, path: str, flags: int, resolve: int) -> int:
    """Opens `path` relative to `directory` by the RESOLVE_ rules given (see openat2(2)), never by a magic link.

    The kernel gives up (EAGAIN) when something is renamed on the way: then it is asked again."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, resolve | _RESOLVE_NO_MAGICLINKS)
    for _ in range(_ATTEMPTS):
        found = int(_libc.syscall(_SYS_OPENAT2, directory, os.fsencode(path), how, len(how)))
        if found >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    return _check(found, path)


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result
