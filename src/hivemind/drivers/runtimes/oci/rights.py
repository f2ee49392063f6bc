"""What a container's processes may do: the security half of its OCI configuration. Pure."""

from __future__ import annotations

import platform
from typing import Any

from hivemind.drivers.runtimes import capabilities, seccomp, seccomp_profiles
from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.oci.users import Account
from hivemind.errors import Unsupported

_OPEN_FILES = 65_536
_UNLIMITED = 2**64 - 1


def of_process(spec: ContainerSpec, account: Account, open_files: int) -> dict[str, Any]:
    """The part of `process` that its commands and everything run inside later have in common."""
    held = list(capabilities.of(spec))
    permitted = held if account.uid == 0 else []
    rights: dict[str, Any] = {
        "capabilities": {"bounding": held, "effective": permitted, "permitted": permitted},
        "noNewPrivileges": spec.no_new_privileges and not spec.privileged,
        "rlimits": rlimits(spec, open_files),
    }
    if spec.apparmor:
        rights["apparmorProfile"] = spec.apparmor
    return rights


def rlimits(spec: ContainerSpec, open_files: int) -> list[dict[str, Any]]:
    """`open_files`: the daemon's own hard limit, which stands unless another was asked for."""
    wanted = {"nofile": (min(open_files, _OPEN_FILES), open_files)}
    wanted |= {name: (limit.soft, limit.hard) for name, limit in spec.ulimits.items()}
    return [
        {"type": f"RLIMIT_{name.upper()}", "soft": _rlimit(soft), "hard": _rlimit(hard)}
        for name, (soft, hard) in sorted(wanted.items())
    ]


def of_container(spec: ContainerSpec) -> dict[str, Any]:
    """The part of `linux` that guards the kernel from it."""
    guards: dict[str, Any] = {}
    if not spec.privileged:
        guards["maskedPaths"] = list(seccomp.MASKED_PATHS)
        guards["readonlyPaths"] = list(seccomp.READONLY_PATHS)
    profile = filter_of(spec)
    if profile is not None:
        guards["seccomp"] = profile
    return guards


def filter_of(spec: ContainerSpec) -> dict[str, Any] | None:
    """`linux.seccomp`; None for no filter at all."""
    if spec.seccomp == "unconfined" or (spec.privileged and spec.seccomp == "default"):
        return None
    held = capabilities.of(spec)
    if spec.seccomp == "default":
        return seccomp.profile(held, machine=platform.machine())
    return seccomp_profiles.from_docker(
        spec.seccomp, held, machine=platform.machine(), release=platform.release()
    )


def in_own_users(spec: ContainerSpec) -> bool:
    """Whether it is to have a user namespace, if the machine can.

    Not with what only acts on the node: in one, that would be there and do nothing. Nor in the node's network,
    where Linux gives the low ports and raw sockets to the node's own root alone."""
    return (
        spec.users == "auto"
        and not spec.privileged
        and bool(spec.netns)
        and not capabilities.acts_on_node(spec)
    )


def check_apparmor(spec: ContainerSpec, loaded: frozenset[str] | None) -> None:
    """`loaded`: the profiles that the kernel has; None: it has no AppArmor. Raises `Unsupported`."""
    if not spec.apparmor or spec.apparmor == "unconfined":
        return
    if loaded is None:
        raise Unsupported(
            f"AppArmor is not in use on this node, so there is no profile {spec.apparmor}",
            hint="leave out --security-opt apparmor, or enable it: apt-get install apparmor",
        )
    if spec.apparmor not in loaded:
        raise Unsupported(
            f"this node has not loaded the AppArmor profile {spec.apparmor}",
            hint="load it on every node: apparmor_parser -r /etc/apparmor.d/PROFILE",
        )


def _rlimit(value: int) -> int:
    return _UNLIMITED if value < 0 else value
