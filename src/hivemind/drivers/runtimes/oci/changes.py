"""What a container changed in its root file system: its own overlay layer, compared with those below it.

In an overlay a character device 0/0 stands for something deleted, and a directory marked opaque hides what the
layers below have in it. What the runtime put there itself, places to mount something, is nobody's change.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from hivemind.drivers.runtimes.contract import FileChange
from hivemind.drivers.runtimes.oci.record import Directory
from hivemind.errors import Unavailable

_MOST = 200_000


class _Mount(msgspec.Struct):
    destination: str


class _Configuration(msgspec.Struct):
    mounts: list[_Mount] = []


def changes(directory: Directory, layers: Sequence[Path]) -> list[FileChange]:
    """By path; `layers` of its image, lowest first. Blocks. Raises `Unavailable` when there are absurdly many."""
    return compare(directory.path / "upper", layers[::-1], _mount_points(directory))


def compare(upper: Path, layers: Sequence[Path], mounts: frozenset[str] = frozenset()) -> list[FileChange]:
    """`layers`: highest first. `mounts`: paths where something else is mounted."""
    found: dict[str, FileChange] = {}
    for path, state, opaque in _entries(upper):
        below = _below(layers, path)
        if _is_whiteout(state):
            if below is not None:
                found[path] = FileChange("deleted", path)
        elif path not in mounts:
            found[path] = FileChange("added" if below is None else "changed", path)
        if opaque and below is not None and stat.S_ISDIR(below.st_mode):
            for name in _names(layers, path):
                if not os.path.lexists(upper / path.lstrip("/") / name):
                    inner = f"{path}/{name}"
                    found[inner] = FileChange("deleted", inner)
        if len(found) > _MOST:
            raise Unavailable(f"more than {_MOST} files differ from the image", hint="look inside with exec")
    _drop_ways(found, mounts)
    return [found[path] for path in sorted(found)]


def _drop_ways(found: dict[str, FileChange], mounts: frozenset[str]) -> None:
    """Directories that are there only to lead to a mount."""
    ways = {str(parent) for mount in mounts for parent in Path(mount).parents}
    for way in sorted(ways & set(found), key=len, reverse=True):
        if not any(path.startswith(f"{way}/") for path in found):
            del found[way]


def _entries(upper: Path) -> Iterator[tuple[str, os.stat_result, bool]]:
    """Everything below, with whether it is an opaque directory. The container may be changing it meanwhile: only
    descriptors are gone by, so that a link that is put there leads nowhere."""
    for base, directories, files, fd in os.fwalk(upper, follow_symlinks=False):
        where = base[len(str(upper)) :]
        for name in (*directories, *files):
            try:
                state = os.stat(name, dir_fd=fd, follow_symlinks=False)
                opaque = stat.S_ISDIR(state.st_mode) and _is_opaque(fd, name)
            except OSError:  # gone by now
                continue
            yield f"{where}/{name}", state, opaque


def _is_opaque(directory: int, name: str) -> bool:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        return _marked(fd)
    finally:
        os.close(fd)


def _marked(where: int | Path) -> bool:
    for prefix in ("trusted", "user"):
        try:
            if os.getxattr(where, f"{prefix}.overlay.opaque") == b"y":
                return True
        except OSError:
            continue
    return False


def _below(layers: Sequence[Path], path: str) -> os.stat_result | None:
    """What the layers show at a path; None: nothing."""
    parts = path.strip("/").split("/")
    for layer in layers:
        at, closed = layer, False
        for index, part in enumerate(parts):
            at = at / part
            try:
                state = at.lstat()
            except FileNotFoundError:
                break
            if _is_whiteout(state):
                return None
            if index == len(parts) - 1:
                return state
            if not stat.S_ISDIR(state.st_mode):
                return None
            closed = closed or _marked(at)
        if closed:
            return None
    return None


def _names(layers: Sequence[Path], path: str) -> set[str]:
    """What the layers show in a directory."""
    inner = path.strip("/")
    listed = (os.listdir(layer / inner) for layer in layers if (layer / inner).is_dir())
    return {name for names in listed for name in names if _below(layers, f"{path}/{name}") is not None}


def _is_whiteout(state: os.stat_result) -> bool:
    return stat.S_ISCHR(state.st_mode) and state.st_rdev == 0


def _mount_points(directory: Directory) -> frozenset[str]:
    try:
        configuration = msgspec.json.decode(directory.config.read_bytes(), type=_Configuration)
    except FileNotFoundError:  # it was with secrets, in memory, before the machine was restarted
        return frozenset()
    return frozenset(os.path.normpath(mount.destination) for mount in configuration.mounts)
