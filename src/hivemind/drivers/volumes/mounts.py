"""What is mounted where in this process's mount namespace, as the kernel tells it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple


class Mounted(NamedTuple):
    point: Path
    source: str
    """A device, or what a server exports."""


def mounted_below(directory: Path) -> list[Mounted]:
    """Outermost first; `directory` itself counts. Something may be mounted over something."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        point = Path(_unescaped(fields[4]))
        if point == directory or point.is_relative_to(directory):
            found.append(Mounted(point, _unescaped(fields[fields.index("-") + 2])))
    return found


def mounted_at(point: Path) -> Mounted | None:
    """The topmost mount there."""
    here = [m for m in mounted_below(point) if m.point == point]
    return here[-1] if here else None


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
