"""Which start of the machine this is: what ran in an earlier one has to come up again, in its order."""

from __future__ import annotations

import os
from pathlib import Path

_KERNEL = Path("/proc/sys/kernel/random/boot_id")


def boot(run: Path) -> str:
    """The same as long as the machine runs. `run` is a directory that a new start finds empty: a machine that is
    itself a container keeps its host's kernel."""
    marker = run / "boot"
    try:
        with marker.open("x") as file:
            file.write(os.urandom(6).hex())
    except FileExistsError:
        pass
    return f"{_KERNEL.read_text().strip()}/{marker.read_text()}"
