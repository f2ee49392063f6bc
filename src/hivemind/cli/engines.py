"""Which container engines this machine has besides what Hivemind brings along. None is needed."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from hivemind.cli.findings import FAIL, OK, Finding, Machine

_SOCKETS = {"containerd": "run/containerd/containerd.sock", "docker": "var/run/docker.sock"}


def engines(machine: Machine) -> Finding:
    """Only told, unless the daemon is set up to use one that does not answer."""
    for name, path in _chosen(machine).items():
        if not _answers(path):
            return Finding(
                FAIL,
                f"{name} is chosen for containers, but nobody answers at {path}",
                f"systemctl start {name}",
            )
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


def _chosen(machine: Machine) -> dict[str, Path]:
    """The sockets of the engines that the daemon's file and variables ask for."""
    from hivemind.daemon.settings import load
    from hivemind.errors import Invalid

    file = machine.root / "etc/hivemind/hivemind.toml"
    here = machine.root == Path("/")
    if not here and not file.exists():
        return {}
    try:
        settings = load({}, os.environ if here else {}, str(file) if file.exists() else "")
    except Invalid:
        return {}  # the daemon says what is wrong with them
    addresses = {"containerd": settings.engines.containerd_address, "docker": settings.engines.docker_socket}
    return {
        name: machine.root / address.removeprefix("unix://").lstrip("/")
        for name, address in addresses.items()
        if name in (settings.node.runtime, *settings.node.runtimes)
    }


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _is_socket(path: os.PathLike[str]) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
