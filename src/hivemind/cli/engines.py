"""Which container engines this machine has besides what Hivemind brings along. None is needed."""

from __future__ import annotations

import os
import stat

from hivemind.cli.findings import OK, Finding, Machine

_SOCKETS = {"containerd": "run/containerd/containerd.sock", "docker": "var/run/docker.sock"}


def engines(machine: Machine) -> Finding:
    """Only told: the daemon itself says when an engine that it shall use does not answer."""
    running = [name for name, path in _SOCKETS.items() if _is_socket(machine.root / path)]
    silent = [n for n, binary in (("containerd", "containerd"), ("docker", "dockerd"))
              if n not in running and machine.program(binary)]  # fmt: skip
    if running:
        return Finding(
            OK, f"{' and '.join(running)}, for who starts the daemon with --runtimes {','.join(running)}"
        )
    if silent:
        return Finding(OK, f"{' and '.join(silent)} installed but not running; not needed")
    return Finding(OK, "none; not needed")


def _is_socket(path: os.PathLike[str]) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
