"""A volume with a limit: an ext4 file system in a file. The kernel refuses what does not fit.

The file has holes where nothing was written, so it takes what its content takes. `mount` binds the loop device to
the mount: when the last mount of the file system goes, the kernel frees the device, whoever has died meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import suppress
from pathlib import Path

from hivemind.drivers.volumes.commands import Failed, run
from hivemind.drivers.volumes.mounts import mounted_at
from hivemind.errors import Conflict, Corrupt
from hivemind.model.quantity import show_bytes

_FEATURES = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
_OPTIONS = "loop,nodev,nosuid"
_CAP_SYS_RESOURCE = 24
# Freezing, copying and thawing belong to one child, so that a daemon that dies does not leave writers waiting.
_COPY_FROZEN = """
trap 'fsfreeze --unfreeze "$1" 2>/dev/null' EXIT
fsfreeze --freeze "$1" && cp --reflink=auto --sparse=always "$2" "$3"
"""


async def make(image: Path, size: int) -> None:
    with image.open("xb") as file:
        os.truncate(file.fileno(), size)
    os.chmod(image, 0o600)
    await run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", _FEATURES, str(image))


async def mount(image: Path, point: Path, *, readonly: bool = False) -> None:
    """Does nothing where it is mounted already."""
    if mounted_at(point):
        return
    options = f"{_OPTIONS},ro" if readonly else _OPTIONS
    try:
        await run("mount", "-t", "ext4", "-o", options, str(image), str(point))
    except Failed as error:
        raise Corrupt(
            f"the volume's file system cannot be mounted: {error.said}",
            hint=f"look at it: e2fsck -f {image}; or restore the volume from a snapshot or backup",
        ) from error
    # Made by mkfs and by e2fsck. Programs such as initdb insist on an empty directory.
    if not readonly:
        with suppress(OSError):
            (point / "lost+found").rmdir()


async def unmount(point: Path) -> None:
    while mounted_at(point):
        await run("umount", "--lazy", str(point))


async def thaw(point: Path) -> None:
    """Ends a freeze that somebody who died has left; else nothing happens."""
    with suppress(Failed):
        await run("fsfreeze", "--unfreeze", str(point))


def grows_online() -> bool:
    """Whether this process may enlarge a file system while it is used: CAP_SYS_RESOURCE, which some containers and
    virtual machines withhold even from root."""
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return bool(effective and int(effective[1], 16) >> _CAP_SYS_RESOURCE & 1)


async def grow(image: Path, point: Path, size: int) -> None:
    """While it is mounted and used. What a crash left half done is done by the next call."""
    if image.stat().st_size < size:
        os.truncate(image, size)
    found = mounted_at(point)
    assert found, "it is grown where it is mounted"
    await run("losetup", "--set-capacity", found.source)
    await run("resize2fs", found.source)


async def refit(image: Path, size: int) -> None:
    """Larger or smaller, of a copy that nobody uses. Raises `Conflict` if it holds more."""
    await run("e2fsck", "-f", "-y", str(image), accept=(0, 1))
    if image.stat().st_size < size:
        os.truncate(image, size)
    try:
        await run("resize2fs", str(image), f"{size // 1024}K")
    except Failed as error:
        raise Conflict(
            f"what it holds does not fit into {show_bytes(size)}",
            hint="remove files from it, or keep it larger",
        ) from error
    os.truncate(image, size)


async def copy_frozen(image: Path, point: Path, to: Path) -> None:
    """Of one moment: writers wait until it is copied. Shares its blocks where the file system can."""
    try:
        await run("sh", "-c", _COPY_FROZEN, "sh", str(point), str(image), str(to))
    except asyncio.CancelledError:
        await asyncio.shield(thaw(point))  # the child was killed, and could not
        raise


def used(point: Path) -> int:
    found = os.statvfs(point)
    return (found.f_blocks - found.f_bfree) * found.f_frsize
