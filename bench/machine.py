"""The machine that was measured: what a reader must know to judge the figures."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from bench.peers import programs


def describe() -> dict[str, str]:
    docker = programs()
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{_memory() / 2**30:.0f} GiB",
        "kernel": f"{platform.release().split('-')[0]}, control groups {_cgroups()}",
        "Python": platform.python_version(),
        "crun": _version("crun", "--version"),
        "runc": _version("runc", "--version"),
        "conmon": _version("conmon", "--version"),
        "Docker": _version(str(docker / "usr/sbin/dockerd"), "--version"),
        "containerd": _version(str(docker / "usr/bin/containerd"), "--version"),
        "load": "other programs were at work at the same time" if os.getloadavg()[2] > 0.5 else "none other",
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cgroups() -> str:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return "v2"
    return "v1 (hybrid)" if (root / "unified").exists() else "v1"


def _version(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "not there"
    said = subprocess.run(command, capture_output=True, text=True).stdout
    found = re.search(r"\d+\.\d+[\w.+~-]*", said)
    return found[0] if found else "unknown"
