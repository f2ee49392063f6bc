"""What this machine has and offers."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket

_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}


def arch() -> str:
    """As OCI images name it."""
    return _ARCH.get(platform.machine(), platform.machine())


def cores() -> float:
    return float(len(os.sched_getaffinity(0)))


def task_slots() -> int:
    """Tasks mostly wait: for networks, disks, each other."""
    return max(16, 4 * int(cores()))


def memory_total() -> int:
    return _meminfo()["MemTotal"]


def memory_used() -> int:
    found = _meminfo()
    return found["MemTotal"] - found["MemAvailable"]


def _meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes."""
    with open("/proc/meminfo") as file:
        return {m[1]: int(m[2]) * 1024 for line in file if (m := re.match(r"(\w+):\s+(\d+) kB", line))}


def load() -> float:
    """Average number of runnable processes over a minute."""
    return os.getloadavg()[0]


def disk_free(path: str) -> int:
    return shutil.disk_usage(path).free


def node_name() -> str:
    """The host's name, made into a label."""
    short = socket.gethostname().split(".")[0].lower()
    return re.sub(r"[^a-z0-9-]", "-", short).strip("-")[:63] or "node"
