"""Log rotation: `log` becomes `log.1`, `log.1` becomes `log.2`, and the monitor goes on in a new `log`.

Sizes are looked at every second, which costs one stat for each container and wakes nobody for each line.
Nothing is lost in between: the monitor writes to the renamed file until it has opened the new one. While no
daemon runs, or faster than it looks, the monitor itself starts its log over at the size of all files together.
"""

from __future__ import annotations

import os

from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.oci import monitor
from hivemind.drivers.runtimes.oci.record import Directory

INTERVAL = 1.0
"""Seconds."""


def rotate(directory: Directory, spec: ContainerSpec) -> None:
    """Rotates when the log is large enough. Also finishes a rotation that was cut short."""
    try:
        size = directory.log.stat().st_size
    except FileNotFoundError:
        monitor.reopen_log(directory)
        return
    if size < spec.log_max_size:
        return
    older = [directory.log.with_name(f"log.{number}") for number in range(1, max(2, spec.log_max_files))]
    for newer, older_one in zip(reversed(older[:-1]), reversed(older[1:]), strict=True):
        if newer.exists():
            os.replace(newer, older_one)
    os.replace(directory.log, older[0])
    monitor.reopen_log(directory)
    if spec.log_max_files < 2:
        older[0].unlink()
