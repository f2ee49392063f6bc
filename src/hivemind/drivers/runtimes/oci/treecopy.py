"""Copies of the host's mounts, to be attached in the containers' mount namespace: what is mounted below a directory
comes along, as docker has it.

Except pins of mount namespaces, our own and those of others (snapd has some): the kernel attaches none within a
namespace that is not older (ELOOP), lest a namespace keep itself. Where there is one below a source, the source is
copied out of a copy of the host's whole mount table, and from that the kernel leaves such pins out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hivemind.drivers.runtimes.oci import kernel

_ESCAPED = re.compile(rb"\\([0-7]{3})")
_ROOT, _POINT = 3, 4
"""Columns of /proc/<pid>/mountinfo: which part of its file system is mounted, and where."""


def copy_tree(source: str) -> int:
    """A descriptor, see `kernel.clone_tree`. Raises `OSError`. Blocks; not on a thread that changed its namespace."""
    with open("/proc/self/mountinfo", "rb") as mounts:
        pins = list(namespace_pins(mounts))
    if not any(_is_below(pin, os.path.realpath(source)) for pin in pins):
        return kernel.clone_tree(source)
    with ThreadPoolExecutor(1) as thread:  # The copied table goes with it; what was taken from it stays.
        return thread.submit(_copy_without_pins, source).result()


def mounted_below(places: Iterable[str], passes: Callable[[os.stat_result], bool]) -> dict[str, list[str]]:
    """Relative paths of what is mounted below each place, outermost first, as this thread sees it. Left out is what
    something else is mounted over, and what lies behind a directory that a container does not pass."""
    with open("/proc/thread-self/mountinfo", "rb") as mounts:
        points = sorted({point for _, point in _parse(mounts)})
    return {
        place: [
            point[len(place) + 1 :]
            for point in points
            if point.startswith(f"{place}/") and os.path.lexists(point) and _leads(place, point, passes)
        ]
        for place in places
    }


def _leads(place: str, point: str, passes: Callable[[os.stat_result], bool]) -> bool:
    way = [parent for parent in Path(point).parents if parent.is_relative_to(place)]
    try:
        return all(passes(parent.lstat()) for parent in way)
    except FileNotFoundError:  # gone by now
        return False


def namespace_pins(mountinfo: Iterable[bytes]) -> Iterator[str]:
    """Where mount namespaces are bound."""
    return (point for root, point in _parse(mountinfo) if root.startswith(b"mnt:["))


def _parse(mountinfo: Iterable[bytes]) -> Iterator[tuple[bytes, str]]:
    for line in mountinfo:
        columns = line.split(b" ")
        point = _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), columns[_POINT])
        yield columns[_ROOT], os.fsdecode(point)


def _copy_without_pins(source: str) -> int:
    kernel.unshare(kernel.CLONE_NEWNS)
    return kernel.clone_tree(source)


def _is_below(path: str, directory: str) -> bool:
    return os.path.commonpath((path, directory)) == directory
