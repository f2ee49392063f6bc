"""Which capabilities a container starts with: docker's defaults, less what is dropped, plus what is added."""

from __future__ import annotations

from collections.abc import Set
from functools import cache
from pathlib import Path

from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.seccomp import DEFAULT_CAPABILITIES
from hivemind.errors import Invalid, Unsupported

NAMES: tuple[str, ...] = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT",
    "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE",
    "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
    "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
"""By their numbers in the kernel."""

CONFINED: frozenset[str] = frozenset({*DEFAULT_CAPABILITIES, "CAP_IPC_OWNER", "CAP_SYS_PTRACE"})
"""Those that do in a user namespace what people want of them. The others act on the node itself, so that whoever
adds one gets the node's users with it."""


def of(spec: ContainerSpec, available: Set[str] | None = None) -> tuple[str, ...]:
    """In the kernel's order. `available`: what this daemon may pass on, its own bounding set.

    Raises `Invalid` for a name that there is not, `Unsupported` for one that the daemon itself lacks."""
    available = passable() if available is None else available
    if spec.privileged:
        return tuple(name for name in NAMES if name in available)
    held = set(DEFAULT_CAPABILITIES) & available
    dropped, added = _named(spec.cap_drop), _named(spec.cap_add)
    held -= set(NAMES) if "CAP_ALL" in dropped else dropped
    missing = sorted(added - available - {"CAP_ALL"})
    if missing:
        raise Unsupported(
            f"the daemon of this node has no {missing[0]} to pass on",
            hint="start it with all of root's capabilities, or do without",
        )
    held |= (set(NAMES) & available) if "CAP_ALL" in added else added
    return tuple(name for name in NAMES if name in held)


def acts_on_node(spec: ContainerSpec) -> bool:
    """Whether it asks for a capability that would be without effect in a user namespace."""
    return bool(_named(spec.cap_add) - CONFINED)


@cache
def passable() -> frozenset[str]:
    """The bounding set of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            mask = int(line.split()[1], 16)
            return frozenset(name for number, name in enumerate(NAMES) if mask >> number & 1)
    return frozenset(NAMES)


def _named(names: tuple[str, ...]) -> set[str]:
    found = {f"CAP_{name.upper().removeprefix('CAP_')}" for name in names}
    for name in sorted(found - {"CAP_ALL", *NAMES}):
        raise Invalid(
            f"there is no capability {name.removeprefix('CAP_')}", hint="capabilities(7) lists them, or ALL"
        )
    return found
