"""The first use of a volume: it takes what the image has at the mount point, and suits the container's user.

As docker does it: an empty volume gets the files, owner and mode of the image's directory. Where the image has no
such directory, or an empty one of root's, it belongs to whom the container runs as.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hivemind.drivers.runtimes.oci import kernel
from hivemind.drivers.runtimes.oci.users import find_account
from hivemind.drivers.volumes.commands import run
from hivemind.errors import Invalid


class Owner(NamedTuple):
    uid: int
    gid: int


async def seed(place: Path, layers: Sequence[Path], target: str, user: str, scratch: Path) -> None:
    """`place`: the volume's directory (or a sub-path of it). `layers`: of the image, lowest first; none: only a
    user by number is understood. `scratch`: a directory that may be made, for the time of this call."""
    if not layers:
        _give(place, _by_number(user))
        return
    point = scratch / "root"
    await _mount(layers, scratch, point)
    try:
        await _copy(point, place, target, user)
    finally:
        await asyncio.shield(_unmount(scratch, point, len(layers)))


async def _mount(layers: Sequence[Path], scratch: Path, point: Path) -> None:
    """Read-only, by short names relative to a directory: the kernel takes one page of options."""
    point.mkdir(parents=True)
    (scratch / "none").mkdir()
    for index, layer in enumerate(layers):
        (scratch / str(index)).symlink_to(layer)
    lower = ":".join([*(str(index) for index in reversed(range(len(layers)))), "none"])
    await run("mount", "-t", "overlay", "-o", f"ro,lowerdir={lower}", "overlay", "root", cwd=str(scratch))


async def _unmount(scratch: Path, point: Path, count: int) -> None:
    if os.path.ismount(point):
        await run("umount", "--lazy", str(point))
    for index in range(count):
        (scratch / str(index)).unlink(missing_ok=True)
    for directory in (point, scratch / "none", scratch):
        directory.rmdir()


async def _copy(point: Path, place: Path, target: str, user: str) -> None:
    root = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        account = find_account(root, user)
        owner = Owner(account.uid, account.gid)
        inside = _directory(root, target)
        if inside < 0:
            _give(place, owner)
            return
        try:
            fresh, bare = not os.listdir(place), not os.listdir(inside)
            if fresh:
                await run("cp", "--archive", f"/proc/{os.getpid()}/fd/{inside}/.", str(place))
            if bare or not fresh:
                _give(place, owner)
        finally:
            os.close(inside)
    finally:
        os.close(root)


def _directory(root: int, target: str) -> int:
    """The image's directory there, links followed as the container follows them; -1 if there is none."""
    try:
        return kernel.open_in_root(root, target, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return -1


def _give(place: Path, owner: Owner | None) -> None:
    """What belongs to somebody already is left to them."""
    found = os.stat(place)
    if owner and (found.st_uid, found.st_gid) == (0, 0):
        os.chown(place, *owner)


def _by_number(user: str) -> Owner | None:
    name, _, group = user.partition(":")
    if not name.isdigit() or (group and not group.isdigit()):
        return None
    return Owner(int(name), int(group or 0))


def open_subpath(top: Path, subpath: str) -> tuple[int, bool]:
    """A descriptor of that directory below `top`, made if it is missing, and whether it was. No link on the way
    leads outside. Raises `Invalid` where one would, or where something else is in the way."""
    flags = os.O_RDONLY | os.O_DIRECTORY
    at = os.open(top, flags | os.O_CLOEXEC)
    above, reached, made = os.dup(at), "", False
    try:
        for part in [p for p in subpath.split("/") if p not in ("", ".")]:
            reached = f"{reached}/{part}" if reached else part
            try:
                inner = kernel.open_below(at, reached, flags, kernel.RESOLVE_BENEATH)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=above)  # fails where a link leads nowhere
                inner, made = kernel.open_below(above, part, flags, kernel.RESOLVE_BENEATH), True
            os.close(above)
            above = inner
    except OSError as error:
        os.close(above)
        raise Invalid(
            f"the subpath {subpath} is no directory inside the volume ({error.strerror} at {reached})",
            hint="a link there leads outside, or a file is in the way: remove it, or choose another subpath",
        ) from error
    finally:
        os.close(at)
    return above, made
