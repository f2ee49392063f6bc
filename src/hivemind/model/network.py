"""How an app is on the network: its ports, its names, or another network than its own."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from hivemind.model.base import Spec
from hivemind.model.names import ServiceName

PortNumber = Annotated[int, Meta(ge=1, le=65535)]
Address = Annotated[str, Meta(pattern=r"^[0-9a-fA-F.:]{2,45}\Z", description="an IP address")]
HostAddress = Annotated[
    str,
    Meta(pattern=r"^([0-9a-fA-F.:]{2,45}|host-gateway)\Z", description="an IP address or host-gateway"),
]


class Port(Spec, frozen=True, kw_only=True):
    """A port the container listens on; with `host`, also published on every node."""

    container: PortNumber
    host: PortNumber | None = None
    protocol: Literal["tcp", "udp"] = "tcp"


class NetworkOptions(Spec, frozen=True, kw_only=True):
    """`default`: an address of its own. `host`: the node's network (permission `host-network`). `none`: none."""

    mode: Literal["default", "host", "none"] = "default"
    hostname: ServiceName | None = None
    """`<app>-<slot>` when absent."""
    dns: tuple[Address, ...] = ()
    """Name servers instead of the hive's, which then resolves no app names for it."""
    dns_search: tuple[ServiceName, ...] = ()
    dns_options: tuple[Annotated[str, Meta(pattern=r"^[a-z0-9:-]+\Z")], ...] = ()
    extra_hosts: dict[ServiceName, HostAddress] = {}
    """Further names for /etc/hosts; the address `host-gateway` is written as the node's own."""
