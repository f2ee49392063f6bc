"""How one registry is reached: who signs in there, whom it is trusted by, where else its images can be had."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

import msgspec

from hivemind.model.image import DEFAULT_REGISTRY

DOCKER_HUB = "registry-1.docker.io"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Hosts are written as in references: `registry.example.com:5000`."""

    host: str
    username: str = ""
    password: str = ""
    identity_token: str = ""
    """A refresh token, which some registries hand out instead of keeping passwords."""
    insecure: bool = False
    """Certificates are not looked at, and plain HTTP will do. Always so on loopback without `ca`."""
    ca: str = ""
    """PEM text of further trusted authorities."""
    mirrors: tuple[str, ...] = ()
    """Asked first, in this order: `mirror.example.com` or `https://mirror.example.com`."""
    timeout: float = 30.0
    """Seconds without a byte until it counts as unreachable."""

    def __repr__(self) -> str:
        """Without what must not be logged."""
        return f"Access(host={self.host!r}, username={self.username!r})"

    @property
    def signs_in(self) -> bool:
        return bool(self.username or self.identity_token)

    @property
    def unverified(self) -> bool:
        return self.insecure or (not self.ca and is_loopback(self.host))

    @property
    def address(self) -> str:
        return DOCKER_HUB if self.host == DEFAULT_REGISTRY else self.host


Keyring = Callable[[str], Access]
"""The access to the registry of that host, as it is known right now. May block: it is called in threads."""


def anonymous(host: str) -> Access:
    return Access(host=host)


def sources(host: str, keyring: Keyring) -> list[Access]:
    """Where images of `host` can be had: its mirrors, then itself."""
    origin = keyring(host)
    mirrors = []
    for mirror in origin.mirrors:
        scheme, _, address = mirror.rpartition("://")
        access = keyring(address.rstrip("/"))
        mirrors.append(msgspec.structs.replace(access, insecure=access.insecure or scheme == "http"))
    return [*mirrors, origin]


def is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
