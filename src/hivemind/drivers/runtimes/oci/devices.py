"""Device nodes of the host that a container gets: as nodes of its own, with the rule that lets it use them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from hivemind.drivers.runtimes.contract import ContainerSpec, Device
from hivemind.drivers.runtimes.oci.idmap import Users
from hivemind.errors import Invalid, NotFound

_DEV = Path("/dev")
_NOT_DEVICES = frozenset({"pts", "shm", "mqueue", "hugepages", "fd", "console", "ptmx", "core"})
_ALWAYS = frozenset({"null", "zero", "full", "random", "urandom", "tty"})
"""Every container has these; the OCI runtime makes them."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A device as the host has it, and where it goes."""

    path: str
    kind: str
    """`c` or `b`."""
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    access: str = "rwm"

    def entry(self) -> dict[str, Any]:
        """As `linux.devices` has it."""
        return {
            "path": self.path, "type": self.kind, "major": self.major, "minor": self.minor,
            "fileMode": self.mode, "uid": self.uid, "gid": self.gid,
        }  # fmt: skip

    def rule(self) -> dict[str, Any]:
        """As `linux.resources.devices` has it."""
        return {
            "allow": True, "type": self.kind, "major": self.major, "minor": self.minor, "access": self.access
        }  # fmt: skip


def find(spec: ContainerSpec) -> tuple[Node, ...]:
    """Those it asks for, or, when it is privileged, all of them. Raises `NotFound`, `Invalid`."""
    everything = _every() if spec.privileged else ()
    asked = (node for device in spec.devices for node in _asked(device))
    return tuple({node.path: node for node in (*everything, *asked)}.values())


def make(directory: Path, nodes: Iterable[Node], users: Users) -> dict[str, str]:
    """Nodes for a container in a user namespace, which may not make its own: target to where it is to be bound from.

    They have the owners' numbers as on the host, but inside."""
    made = {}
    for index, node in enumerate(nodes):
        directory.mkdir(exist_ok=True, mode=0o755)
        place = directory / str(index)
        kind = stat.S_IFCHR if node.kind == "c" else stat.S_IFBLK
        os.mknod(place, kind | node.mode, os.makedev(node.major, node.minor))
        os.chown(place, max(users.outside(node.uid), users.first), max(users.outside(node.gid), users.first))
        os.chmod(place, node.mode)
        made[node.path] = str(place)
    return made


def _asked(device: Device) -> Iterator[Node]:
    """A directory stands for the devices in it, as for docker."""
    path = Path(device.host)
    try:
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if _is_device(each))
            for each in inside:
                yield _node(each, f"{device.container}/{each.relative_to(path)}", device.access)
            if inside:
                return
        elif _is_device(path):
            yield _node(path, device.container, device.access)
            return
        elif path.exists():
            raise Invalid(f"{device.host} is not a device of this node", hint="mount files with --volume")
    except PermissionError as error:
        raise Invalid(f"{device.host} cannot be looked at: {error.strerror}") from error
    raise NotFound(
        f"this node has no device {device.host}",
        hint="keep the app to nodes that have it: --constraint node.labels.…",
    )


def _every() -> Iterator[Node]:
    for directory, inner, files in os.walk(_DEV):
        inner[:] = sorted(name for name in inner if name not in _NOT_DEVICES)
        for name in sorted(files):
            path = Path(directory, name)
            skipped = path.parent == _DEV and name in (_NOT_DEVICES | _ALWAYS)
            if not skipped and not path.is_symlink() and _is_device(path):
                yield _node(path, str(path), "rwm")


def _is_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _node(path: Path, inside: str, access: str) -> Node:
    found = path.stat()
    return Node(
        path=inside,
        kind="c" if stat.S_ISCHR(found.st_mode) else "b",
        major=os.major(found.st_rdev),
        minor=os.minor(found.st_rdev),
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        access=access,
    )
