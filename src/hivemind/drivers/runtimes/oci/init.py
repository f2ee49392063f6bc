"""A small init for process 1: whichever of the usual ones this machine has. It is shown inside, not copied.

The image need not have a C library, so only a statically linked one will do."""

from __future__ import annotations

import shutil
import struct

from hivemind.errors import Unsupported

INSIDE = "/dev/init"
"""Where a container sees it: /dev is its own, so nothing of the image is hidden and nothing stays in a file system."""
_CANDIDATES = ("docker-init", "tini-static", "catatonit", "tini")
_SEARCH = "/usr/libexec/docker:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/usr/libexec/podman"
_PT_INTERP = 3


def find() -> str:
    """Its path on the host. Raises `Unsupported` where there is none."""
    for name in _CANDIDATES:
        path = shutil.which(name, path=_SEARCH)
        if path and _is_static(path):
            return path
    raise Unsupported(
        "this node has no init for containers",
        hint="install one on every node (apt-get install tini), or leave out --init",
    )


def _is_static(path: str) -> bool:
    """Whether an ELF file names no loader."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if head[:4] != b"\x7fELF":
        return False
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    offset = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", head, 32 if wide else 28)[0]
    size, count = struct.unpack_from(f"{order}HH", head, 54 if wide else 42)
    entries = range(offset, min(offset + size * count, len(head) - 3), size)
    return _PT_INTERP not in (struct.unpack_from(f"{order}I", head, entry)[0] for entry in entries)
