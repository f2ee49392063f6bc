"""How a container is kept apart from its node and its neighbours, and what it may do nevertheless."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from hivemind.model.base import Spec
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
