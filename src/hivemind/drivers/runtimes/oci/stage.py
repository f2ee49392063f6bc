"""Where containers in a user namespace are put together.

Their root is nobody on the node and cannot pass the daemon's closed directories to reach a root file system in there.
So in the mount namespace of the containers, and only there, a small memory file system that everybody may pass lies
over a directory of the machine that nobody needs in it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hivemind.drivers.runtimes.oci import kernel

_PLACES = ("/mnt", "/media", "/srv", "/opt", "/home")
_MARK = ".hivemind"


def prepare(needed: Iterable[Path]) -> Path | None:
    """The stage; made unless it is there. None where the machine has no room for it.

    `needed`: paths that must stay visible. Runs in the containers' mount namespace."""
    needed = [path.resolve() for path in needed]
    for place in map(Path, _PLACES):
        if place.is_symlink() or any(path.is_relative_to(place) for path in needed):
            continue
        if (place / _MARK).exists():
            return place
        if place.is_dir() and os.stat("/").st_mode & 0o001:
            kernel.mount("tmpfs", str(place), "tmpfs", options="mode=711")
            (place / _MARK).touch()
            return place
    return None
