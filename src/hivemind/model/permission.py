"""Permissions: what an app may ask for only in a project that an administrator opened for it. Off by default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from hivemind.model.app import AppSpec
from hivemind.model.mount import BindMount
from hivemind.model.template import ContainerTemplate

Permission = Literal[
    "privileged", "capabilities", "unconfined", "host-users", "devices", "host-network", "bind", "processes"
]

ORDINARY: Final[frozenset[str]] = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
"""Capabilities that every container has, or may be given without permission: docker's fourteen."""


def needed(spec: AppSpec) -> Iterator[tuple[Permission, str]]:
    """Each permission with what asks for it, as a person would say it."""
    if spec.network.mode == "host":
        yield "host-network", "the node's own network"
    if spec.runtime == "process":
        yield "processes", "plain commands on the node, with the daemon's rights"
    for template in (spec, *spec.init_containers, *spec.sidecars):
        yield from _of(template)


def _of(template: ContainerTemplate) -> Iterator[tuple[Permission, str]]:
    isolation = template.isolation
    if isolation.privileged:
        yield "privileged", "a privileged container"
    special = sorted(set(isolation.cap_add) - ORDINARY)
    if special:
        yield "capabilities", f"the capability {special[0]}"
    if isolation.seccomp != "default":
        yield "unconfined", "a seccomp filter of its own"
    if isolation.apparmor:
        yield "unconfined", f"the AppArmor profile {isolation.apparmor}"
    if isolation.users == "host":
        yield "host-users", "the node's own users"
    if isolation.devices:
        yield "devices", f"the device {isolation.devices[0].host}"
    for mount in template.mounts:
        if isinstance(mount, BindMount):
            yield "bind", f"the node's path {mount.source}"
