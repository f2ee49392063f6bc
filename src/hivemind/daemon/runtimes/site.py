"""What the runtimes of one node share: its settings, its images and its networks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hivemind.daemon.settings import Settings
from hivemind.drivers.images.images import Images
from hivemind.drivers.network.contract import Network
from hivemind.drivers.runtimes.contract import Runtime
from hivemind.errors import Unsupported

if TYPE_CHECKING:
    from hivemind.drivers.network.direct import DirectNetwork
    from hivemind.drivers.network.docker import DockerNetwork, NoDockerNetwork
    from hivemind.drivers.network.host import HostNetwork
    from hivemind.drivers.network.isolated import IsolatedNetwork
    from hivemind.drivers.network.routed import RoutedNetwork


class Site:
    """Networks are opened when the first runtime asks for them: two runtimes in one network share it."""

    def __init__(self, settings: Settings, node: str, images: Images) -> None:
        self.settings = settings
        self.node = node
        self.images = images
        self.data = Path(settings.node.data_dir)
        self.run = Path(settings.node.run_dir)
        self.problems: list[str] = []
        """What the runtimes that were put together had to do without."""
        self.owner = sha256(f"{node} {self.data.absolute()}".encode()).hexdigest()[:12]
        """Twelve hex digits that no other node has on an engine that several share."""
        self._opened: dict[str, Network] = {}

    async def routed(self) -> Network:
        """An address and a network namespace for each allocation. Raises `Unsupported`."""
        if os.geteuid() != 0:
            raise Unsupported("containers need root", hint="start the daemon as root")
        return self._opened.get("routed") or await self._open("routed", self.routed_driver())

    async def host(self) -> Network:
        """The machine's own network, ports shared."""
        return self._opened.get("host") or await self._open("host", self.host_driver())

    async def docker(self) -> Network:
        """A network that the docker engine makes. Raises `Unsupported`, `Unavailable`."""
        driver = self.docker_driver(self.settings.engines.docker_socket)
        return self._opened.get("docker") or await self._open("docker", driver)

    async def modes(self, networks: Mapping[str, Network]) -> dict[str, Network]:
        """Networks by runtime and mode, as `oci/host`, for apps that want another than the ordinary one.

        `networks`: the ordinary ones. Containers ask the hive's name server in the node's network, too."""
        found: dict[str, Network] = {}
        for runtime, network in networks.items():
            if network is self._opened.get("routed"):
                found[f"{runtime}/host"] = await self._direct("direct", network)
                found[f"{runtime}/none"] = await self._isolated()
            elif network is self._opened.get("docker"):
                found[f"{runtime}/host"] = await self._direct("docker-host", network)
                found[f"{runtime}/none"] = await self._open("docker-none", self.no_docker_driver())
            elif network is self._opened.get("host"):
                found[f"{runtime}/host"] = await self._direct("loopback", None)
                if os.geteuid() == 0:
                    found[f"{runtime}/none"] = await self._isolated()
        return found

    async def _direct(self, name: str, routed: Network | None) -> Network:
        return self._opened.get(name) or await self._open(name, self.direct_driver(name, routed))

    async def _isolated(self) -> Network:
        return self._opened.get("isolated") or await self._open("isolated", self.isolated_driver())

    def direct_driver(self, name: str, routed: Network | None) -> DirectNetwork:
        from hivemind.drivers.network.direct import DirectNetwork

        if routed is None:
            return DirectNetwork(name, self.data / "network", lambda: "127.0.0.1")
        node = routed
        return DirectNetwork(name, self.data / "network", lambda: node.dns_address, lambda: node.dns_address)

    def isolated_driver(self) -> IsolatedNetwork:
        from hivemind.drivers.network.isolated import IsolatedNetwork

        return IsolatedNetwork(self.run / "network")

    def routed_driver(self) -> RoutedNetwork:
        """Not open: also to destroy what an earlier daemon left."""
        from hivemind.drivers.network.routed import RoutedNetwork

        return RoutedNetwork(
            self.node,
            self.data / "network",
            self.run / "network",
            subnet=self.settings.network.subnet,
            published_at=self.settings.network.publish_host,
        )

    def docker_driver(self, socket: str) -> DockerNetwork:
        from hivemind.drivers.network.docker import DockerNetwork

        node = self.settings.node
        routed = {"auto", "oci", "containerd"}.intersection((node.runtime, *node.runtimes))
        return DockerNetwork(
            socket,
            self.owner,
            self.data / "network",
            subnet="auto" if routed else self.settings.network.subnet,  # one subnet is not for two networks
            published_at=self.settings.network.publish_host,
        )

    def no_docker_driver(self) -> NoDockerNetwork:
        from hivemind.drivers.network.docker import NoDockerNetwork

        return NoDockerNetwork(self.data / "network")

    def host_driver(self) -> HostNetwork:
        from hivemind.drivers.network.host import HostNetwork

        return HostNetwork(self.data / "network", bind=self.settings.network.publish_host)

    async def close_unused(self, used: list[Network]) -> None:
        """Closes the networks of runtimes that could not be had after all."""
        for name, network in list(self._opened.items()):
            if not any(network is each for each in used):
                del self._opened[name]
                await network.close()

    async def _open(self, name: str, network: Network) -> Network:
        await network.open()
        self._opened[name] = network
        return network


class Assembler(Protocol):
    """What a runtime's module in this package offers."""

    async def assemble(self, site: Site) -> tuple[Runtime, Network]:
        """Both open, and what runs adopted. Raises `Unsupported` saying what is missing."""

    async def destroy(self, site: Site) -> None:
        """Removes every trace of this runtime from the machine, though not of networks that others may share.

        Nothing happens where it was never used."""
