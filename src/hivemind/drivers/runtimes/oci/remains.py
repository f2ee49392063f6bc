"""What a container that ended has left: its root file system, read-only, for as long as somebody looks at it.

Its own layer lies over its image's once more, but nothing can be written and nothing stays mounted: whoever looks has
a descriptor of a mount that is attached nowhere. What else was mounted in it, volumes say, is not part of it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.files.owners import SAME, Owners
from hivemind.drivers.runtimes.oci import kernel, rootfs
from hivemind.drivers.runtimes.oci.idmap import Users
from hivemind.drivers.runtimes.oci.record import Directory
from hivemind.errors import Conflict


def open_root(directory: Directory, layers: Sequence[Path], users: Users | None) -> int:
    """A descriptor of it. `layers`: its image's, lowest first. Runs in the containers' mount namespace, one at a time
    for each container."""
    place = directory.remains
    links, root = place / "layers", place / "rootfs"
    rootfs.clear_remains(directory)  # of a daemon that was killed
    for made in (place, links, root):
        made.mkdir()
    try:
        rootfs.lay(links, layers, users)
        os.chdir(place)
        lower = ":".join(["../upper", *(f"layers/{index}" for index in reversed(range(len(layers))))])
        kernel.mount("overlay", str(root), "overlay", kernel.MS_RDONLY, f"lowerdir={lower}")
        return kernel.clone_tree(str(root), recursive=False)
    finally:
        os.chdir("/")
        rootfs.clear_remains(directory)


def owners(users: Users | None) -> Owners:
    if users is None:
        return SAME
    lines = tuple(users.lines())
    return Owners(lines, lines)


def check_path(spec: ContainerSpec, path: str) -> None:
    """Raises `Conflict` where something was mounted, lest its absence be taken for what was there."""
    wanted = Path(os.path.normpath(f"/{path}"))
    for mount in spec.mounts:
        if wanted.is_relative_to(os.path.normpath(mount.target)):
            raise Conflict(
                f"container {spec.id} has ended, and {mount.target} was mounted in it",
                hint="look at its source: the volume, or the directory of the node",
            )
