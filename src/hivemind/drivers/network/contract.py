"""What the agent asks of the network of one node: an address for each allocation, and published ports.

Everything is level-triggered: `attach` of what is attached returns the same attachment, `publish` takes the
whole wanted table and makes it so, `prune` removes what nobody asked to keep. Attachments and rules outlive
the daemon and are found again by `open`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol, runtime_checkable

import msgspec


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    allocation: str
    ip: str
    """Where the node (and other containers) reach it."""
    netns: str = ""
    """Path of its network namespace; empty when it shares the host's, and where an engine makes them."""
    network: str = ""
    """Name of the engine's network that its containers are put in."""
    ports: dict[str, int] = {}
    """`"80/tcp"` -> the port it must listen on at `ip`. On a shared network these differ from the declared
    ones and are handed to the process as environment variables (PORT, PORT_80)."""
    nameserver: str = ""
    """Where it asks for names; empty: as the host does."""

    @property
    def apart(self) -> bool:
        """Whether it has a network of its own, and not the host's."""
        return bool(self.netns or self.network)


class Published(msgspec.Struct, frozen=True, order=True):
    protocol: Literal["tcp", "udp"]
    port: int


Backend = tuple[str, int]
"""(ip, port) of one healthy replica."""


class Network(Protocol):
    name: str
    dns_address: str
    """Where the node's name server for containers must listen; empty: none is needed."""

    async def open(self) -> None:
        """Probes the machine, finds earlier attachments, lays the base rules.

        Raises `Unsupported` saying what is missing."""

    async def close(self) -> None:
        """Lets go; attachments and published ports keep working where the kernel carries them."""

    async def attach(self, allocation: str, ports: Iterable[str]) -> Attachment:
        """`ports` as `"80/tcp"`. Raises `Unavailable` when no address is left."""

    async def detach(self, allocation: str) -> None:
        """Idempotent; also ends connections tracked to its address."""

    def attachments(self) -> Mapping[str, Attachment]: ...

    async def unreachable(self, allocation: str) -> tuple[str, ...]:
        """Where its containers tried to connect by TCP since it was attached, and could not: `host:port refused`,
        `… unreachable` or `… silent` (asked more than once and not answered), in the order of the text.

        Empty where nobody can tell: on a shared network, and for what is not attached (any more)."""

    async def publish(self, table: Mapping[Published, tuple[Backend, ...]]) -> Mapping[Published, str]:
        """Makes exactly these ports reach exactly these backends; a port with no backend refuses connections.

        Returns the ports that could not be published, each with the reason (`port 80 is in use by nginx, pid 7`);
        all others are served."""

    async def prune(self, keep: set[str]) -> None:
        """Detaches every allocation that is not in `keep` and removes whatever else of ours is stale."""

    async def destroy(self) -> None:
        """Removes every trace of this node's network from the machine."""


@runtime_checkable
class Observant(Protocol):
    """A network that sees what its allocations cannot connect to."""

    name_of: Callable[[str, str], str]
    """By what name the allocation at the first address knows the second; to be asked on any thread."""
