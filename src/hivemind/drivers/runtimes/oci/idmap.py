"""User namespaces that exist for their id maps, and mounts that are seen through one (Linux 5.12, overlay 5.19).

A container in a user namespace shall find its image's files, and the hive's volumes, owned as on disk. So each is
mounted with the container's own map: number 0 on disk is the container's root, whoever that is on the node.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import struct
from collections.abc import Iterable

import msgspec

from hivemind.drivers.runtimes.oci import kernel

SIZE = 65_536
"""Ids that every container has: 0 to 65535."""
SPARE = 256
"""Further ids of the node for larger numbers that an image or a person names."""

_CLONE_VM = 0x00000100
_CLONE_NEWUSER = 0x10000000
_WALL = 0x40000000
_STACK = 65_536
_SIGNALS = 128
"""Bytes of a sigset_t: 1024 bits in every C library of Linux."""
_SYS_MOUNT_SETATTR = 442
_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_IDMAP = 0x00100000
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000

_libc = ctypes.CDLL(None, use_errno=True)


class Unmappable(Exception):
    """A file system that cannot be seen through a map; the container has to do with the node's users."""


class Users(msgspec.Struct, frozen=True):
    """Users and groups alike: 0–65535 inside are `first` and so on outside; `extras` follow those."""

    first: int
    extras: tuple[int, ...] = ()

    def including(self, ids: Iterable[int]) -> Users:
        """With further large ids, as many as there is room for."""
        large = sorted({*self.extras, *(id for id in ids if id >= SIZE)})
        return Users(self.first, tuple(large[:SPARE]))

    def outside(self, inside: int) -> int:
        """The node's number; -1 when it has none."""
        if inside < SIZE:
            return self.first + inside
        return self.first + SIZE + self.extras.index(inside) if inside in self.extras else -1

    def has(self, outside: int) -> bool:
        """Whether that number of the node is one of them."""
        return any(first <= outside < first + count for _, first, count in self.lines())

    def lines(self) -> list[tuple[int, int, int]]:
        """Inside, outside, how many."""
        return [
            (0, self.first, SIZE),
            *((inside, self.first + SIZE + index, 1) for index, inside in enumerate(self.extras)),
        ]


def namespace(users: Users) -> int:
    """A descriptor of a new user namespace with that map. Raises `OSError`.

    Only a process can be in a new one, and only a process without other threads can make one: so a bare clone that
    shares our memory, on a stack of its own, ends as soon as it began. Nothing of Python runs in it. As long as
    nobody takes note of its end, its map can be written and its namespace opened; and should this process be killed
    meanwhile, nothing stays."""
    text = "".join(f"{inside} {outside} {count}\n" for inside, outside, count in users.lines()).encode()
    stack = mmap.mmap(-1, _STACK)
    bottom = ctypes.c_char.from_buffer(stack)
    holder = _ended_clone(ctypes.addressof(bottom) + _STACK)
    try:
        for kind in ("uid_map", "gid_map"):
            with open(f"/proc/{holder}/{kind}", "wb", buffering=0) as file:
                file.write(text)
        return os.open(f"/proc/{holder}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.waitpid(holder, _WALL)
        del bottom
        stack.close()


def apply(tree: int, users: int, *, recursive: bool = True, readonly: bool = False) -> None:
    """Makes a copied, not yet attached tree of mounts (`kernel.clone_tree`) seen through the map of a namespace.

    Raises `Unmappable` where its file system or the kernel cannot."""
    attributes = _MOUNT_ATTR_IDMAP | (_MOUNT_ATTR_RDONLY if readonly else 0)
    request = struct.pack("QQQQ", attributes, 0, 0, users)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    if _libc.syscall(_SYS_MOUNT_SETATTR, tree, b"", flags, request, len(request)) < 0:
        code = ctypes.get_errno()
        if code in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
            raise Unmappable(os.strerror(code))
        raise OSError(code, os.strerror(code), "mount_setattr")


def attach_layer(source: str, target: str, users: int) -> None:
    """Mounts `source`, without what is mounted below it, at `target`, read-only and through the map of a namespace."""
    tree = kernel.clone_tree(source, recursive=False)
    try:
        apply(tree, users, recursive=False, readonly=True)
        kernel.attach_tree(tree, target)
    finally:
        os.close(tree)


def _ended_clone(stack: int) -> int:
    """Process id of a clone in a new user namespace that ended, or is about to. It hears no signal meanwhile:
    handlers are Python's."""
    nothing = ctypes.cast(_libc.abs, ctypes.c_void_p)
    every, before = ctypes.create_string_buffer(_SIGNALS), ctypes.create_string_buffer(_SIGNALS)
    _libc.sigfillset(every)
    _libc.pthread_sigmask(
        signal.SIG_SETMASK, every, before
    )  # Python's own makes 128 objects: 0.3 ms a container
    try:
        made = _libc.clone(nothing, ctypes.c_void_p(stack), _CLONE_VM | _CLONE_NEWUSER, None)
        code = ctypes.get_errno()
    finally:
        _libc.pthread_sigmask(signal.SIG_SETMASK, before, None)
    if made < 0:
        raise OSError(code, os.strerror(code), "a new user namespace")
    return int(made)
