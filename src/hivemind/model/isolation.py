"""How a container is kept apart from its node and its neighbours, and what it may do nevertheless."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from hivemind.errors import Invalid
from hivemind.model.base import Spec
from hivemind.model.json_text import decode_value
from hivemind.model.mount import AbsolutePath
from hivemind.model.quantity import Bytes

Capability = Annotated[
    str,
    Meta(pattern=r"^(ALL|[A-Z][A-Z_]{2,40})\Z", description="a capability without CAP_, such as NET_ADMIN"),
]
LimitName = Literal[
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
    "rtprio", "rttime", "sigpending", "stack",
]  # fmt: skip
SysctlName = Annotated[
    str, Meta(pattern=r"^[a-z0-9_]+(\.[A-Za-z0-9_-]+)+\Z", description="a kernel parameter with dots")
]


class Ulimit(Spec, frozen=True, kw_only=True):
    """-1 is no limit."""

    soft: Annotated[int, Meta(ge=-1)]
    hard: Annotated[int, Meta(ge=-1)]


class Device(Spec, frozen=True, kw_only=True):
    """A device node of the host. Needs the project's permission `devices`."""

    host: AbsolutePath
    container: AbsolutePath | None = None
    """Where it appears; the same path when absent."""
    access: Annotated[str, Meta(pattern=r"^r?w?m?\Z", description="some of r, w and m")] = "rwm"


class Isolation(Spec, frozen=True, kw_only=True):
    """The defaults are safe: a user namespace where the kernel can, a seccomp filter, docker's capabilities."""

    privileged: bool = False
    """Everything the node's root may do. Needs the permission `privileged`."""
    cap_add: tuple[Capability, ...] = ()
    cap_drop: tuple[Capability, ...] = ()
    seccomp: str = "default"
    """`default`, `unconfined`, or the JSON of a profile as docker has them."""
    apparmor: str = ""
    """Name of a profile that the node has loaded; empty: the runtime's own."""
    no_new_privileges: bool = True
    read_only: bool = False
    """The root file system cannot be written; mounts can."""
    init: bool = False
    """A small init reaps orphans and passes signals on."""
    users: Literal["auto", "host"] = "auto"
    """`auto`: root inside is nobody on the node, where the kernel can. `host`: root is root."""
    shm_size: Bytes = 64 * 2**20
    devices: tuple[Device, ...] = ()
    ulimits: dict[LimitName, Ulimit] = {}
    sysctls: dict[SysctlName, str] = {}


CAPABILITIES: Final[frozenset[str]] = frozenset(
    {
        "ALL", "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE",
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL",
        "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE",
        "NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG",
        "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE",
        "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
    }
)  # fmt: skip
_OWN_SYSCTLS = re.compile(r"kernel\.(shm[a-z_]+|msg[a-z_]+|sem)|fs\.mqueue\.[a-z_]+")
_PROFILE_HINT = "give default, unconfined, or the JSON of a profile as docker has them"


def check_isolation(isolation: Isolation, *, own_network: bool) -> None:
    """What the types alone cannot say. `own_network`: it is not on the node's. Raises `Invalid`."""
    for name in (*isolation.cap_add, *isolation.cap_drop):
        if name not in CAPABILITIES:
            raise Invalid(f"there is no capability {name}", hint="capabilities(7) lists them, or ALL")
    if isolation.seccomp not in ("default", "unconfined"):
        parse_profile(isolation.seccomp)
    for name in isolation.sysctls:
        _check_sysctl(name, own_network=own_network)
    for name, limit in isolation.ulimits.items():
        if limit.hard != -1 and not -1 < limit.soft <= limit.hard:
            raise Invalid(
                f"the limit {name} is softly {_shown(limit.soft)}, above its hard {limit.hard}",
                hint=f"write it like {name}=SOFT:HARD, the hard one the higher",
            )
    places = [(device.container or device.host).rstrip("/") for device in isolation.devices]
    for place in places:
        if ".." in place.split("/") or places.count(place) > 1:
            raise Invalid(
                f"the device {place} is given twice, or goes upwards", hint="give each its own path"
            )


def parse_profile(text: str) -> dict[str, Any]:
    """A seccomp profile as it is written. Raises `Invalid` for what is none."""
    try:
        profile = decode_value(text)
    except msgspec.DecodeError as error:
        raise Invalid(f"the seccomp profile is not JSON: {error}", hint=_PROFILE_HINT) from None
    if not isinstance(profile, dict) or not str(profile.get("defaultAction", "")).startswith("SCMP_ACT_"):
        raise Invalid("the seccomp profile names no default action", hint=_PROFILE_HINT)
    rules = profile.get("syscalls") or []
    if not isinstance(rules, list) or not all(_is_rule(rule) for rule in rules):
        raise Invalid("the seccomp profile has a rule without names or action", hint=_PROFILE_HINT)
    return profile | {"syscalls": rules}


def _is_rule(rule: Any) -> bool:
    return (
        isinstance(rule, dict)
        and str(rule.get("action", "")).startswith("SCMP_ACT_")
        and bool(rule.get("names") or rule.get("name"))
        and isinstance(rule.get("names") or [], list)
    )


def _check_sysctl(name: str, *, own_network: bool) -> None:
    """Only what a namespace of the container's own has: everything else would change the node."""
    if name.startswith("net."):
        if not own_network:
            raise Invalid(
                f"{name} would be changed for the whole node",
                hint="leave out --sysctl, or --network host",
            )
    elif not _OWN_SYSCTLS.fullmatch(name):
        raise Invalid(
            f"{name} cannot be set for one container, it belongs to the whole node",
            hint="possible are net.*, kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.*",
        )


def _shown(limit: int) -> str:
    return "unlimited" if limit == -1 else str(limit)
