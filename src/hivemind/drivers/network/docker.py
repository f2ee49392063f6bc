"""A network that a docker engine makes: a bridge of ours with a subnet of ours, in which we give the addresses.

The engine puts containers in it; `attach` only sets an address aside. The bridge's own address is the node's, where
containers find the name server. Published ports are served by this process: what the engine could publish itself is
fixed when a container is made, and cannot be balanced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import msgspec

from hivemind.drivers.network import rtnetlink, subnets
from hivemind.drivers.network.contract import Attachment, Backend, Published
from hivemind.drivers.network.netlink import Netlink
from hivemind.drivers.network.proxied import ProxiedPorts
from hivemind.drivers.network.records import Record, Records, check_allocation, port_number
from hivemind.drivers.runtimes.docker.engine import Engine
from hivemind.errors import Conflict, HivemindError, NotFound, Unavailable, Unsupported

_OWNER = "hivemind.engine.owner"
_LINK_NAME = "com.docker.network.bridge.name"


class _Pool(msgspec.Struct, frozen=True, rename="pascal"):
    subnet: str = ""


class _Addressing(msgspec.Struct, frozen=True, rename="pascal"):
    config: tuple[_Pool, ...] | None = None


class _Found(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    labels: dict[str, str] | None = None
    ipam: _Addressing = msgspec.field(name="IPAM", default=_Addressing())

    @property
    def subnet(self) -> IPv4Network | None:
        pools = self.ipam.config or ()
        return IPv4Network(pools[0].subnet) if pools and pools[0].subnet else None


class DockerNetwork:
    """`owner` as for the runtime; `published_at`: the address of this machine where published ports answer."""

    name = "docker"

    def __init__(
        self,
        socket: str,
        owner: str,
        state_dir: Path,
        *,
        subnet: str = subnets.AUTO,
        published_at: str = "0.0.0.0",
    ) -> None:
        self.dns_address = ""
        self.bridge = f"hivemind-{owner}"
        self._owner = owner
        self.link = f"hmd{owner[:8]}"
        self._engine = Engine(socket)
        self._wanted = subnets.parse(subnet)
        self._state_dir = state_dir
        self._records = Records(state_dir / "engine-attachments")
        self._attached: dict[str, Attachment] = {}
        self._ports = ProxiedPorts(published_at)
        self._addresses: subnets.Addresses | None = None

    async def open(self) -> None:
        await self._engine.greet()
        self._state_dir.mkdir(parents=True, exist_ok=True)
        self._attached = {name: record.attachment for name, record in self._records.load().items()}
        subnet = await self._lay()
        if subnet[1] not in await asyncio.to_thread(_own_addresses):
            raise Unsupported(
                f"docker's network {self.bridge} is not on this machine",
                hint="the engine must run beside the daemon, not in a virtual machine or another namespace",
            )
        path = self._state_dir / "engine-network.json"
        self._addresses = subnets.Addresses(subnet, path, subnets.load(path))
        for attachment in self._attached.values():
            self._addresses.claim(IPv4Address(attachment.ip))
        self.dns_address = str(self._addresses.node)

    async def close(self) -> None:
        self._ports.close()
        self._addresses = None

    async def attach(self, allocation: str, ports: Iterable[str]) -> Attachment:
        addresses = self._given()
        wanted = {port: port_number(port) for port in ports}
        check_allocation(allocation)
        known = self._attached.get(allocation)
        if known is None:
            ip = addresses.give()
            known = Attachment(
                allocation=allocation,
                ip=str(ip),
                network=self.bridge,
                ports=wanted,
                nameserver=self.dns_address,
            )
        elif known.ports != wanted:
            known = msgspec.structs.replace(known, ports=wanted)
        else:
            return known
        self._records.save(Record(attachment=known))
        self._attached[allocation] = known
        return known

    async def detach(self, allocation: str) -> None:
        addresses = self._given()
        if known := self._attached.pop(allocation, None):
            self._records.remove(allocation)
            addresses.take_back(IPv4Address(known.ip))

    def attachments(self) -> Mapping[str, Attachment]:
        return dict(self._attached)

    async def unreachable(self, allocation: str) -> tuple[str, ...]:
        return ()

    async def publish(self, table: Mapping[Published, tuple[Backend, ...]]) -> Mapping[Published, str]:
        self._given()
        return await self._ports.publish(table)

    async def prune(self, keep: set[str]) -> None:
        for allocation in self._attached.keys() - keep:
            await self.detach(allocation)

    async def destroy(self) -> None:
        """Containers must be gone. Needs no `open` before."""
        await self.close()
        await self._remove()
        self._records.destroy()
        self._attached.clear()
        self.dns_address = ""
        for left in self._state_dir.glob("engine-network.json*"):
            left.unlink()

    # -- the bridge -----------------------------------------------------------------------------------------

    async def _lay(self) -> IPv4Network:
        """Finds the engine's network or makes it; its subnet."""
        found = await self._find()
        taken = await asyncio.to_thread(self._reached_otherwise)
        kept = found.subnet if found else self._chosen_before()
        subnet = subnets.choose(
            self._wanted, kept, taken, [IPv4Address(a.ip) for a in self._attached.values()]
        )
        if found is not None and found.subnet != subnet:
            await self._remove()
            found = None
        if found is None:
            await self._make(subnet)
        return subnet

    async def _find(self) -> _Found | None:
        try:
            found: _Found = await self._engine.call("GET", f"/networks/{self.bridge}", type=_Found)
        except NotFound:
            return None
        if (found.labels or {}).get(_OWNER) != self._owner:
            raise Conflict(
                f"docker has a network {self.bridge} that is not this node's",
                hint=f"remove or rename it: docker network rm {self.bridge}",
            )
        return found

    async def _make(self, subnet: IPv4Network) -> None:
        body: dict[str, Any] = {
            "Name": self.bridge,
            "Driver": "bridge",
            "CheckDuplicate": True,
            "IPAM": {"Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1])}]},
            "Options": {_LINK_NAME: self.link},
            "Labels": {_OWNER: self._owner},
        }
        try:
            await self._engine.call("POST", "/networks/create", body)
        except Unavailable as error:
            raise Unsupported(
                f"docker cannot make a network here: {error.message}",
                hint="docker needs iptables and bridges; the engine's own log may say more",
            ) from error

    async def _remove(self) -> None:
        try:
            await self._engine.call("DELETE", f"/networks/{self.bridge}")
        except NotFound:
            pass
        except HivemindError as error:
            if "active endpoints" in error.message:
                raise Conflict(
                    f"docker's network {self.bridge} is in use", hint="remove the containers in it first"
                ) from error
            raise

    def _reached_otherwise(self) -> dict[IPv4Network, str]:
        """What this machine's own routes and addresses take up, by the name of the link."""
        netlink = Netlink()
        try:
            names = {link.index: link.name for link in rtnetlink.links(netlink).values()}
            reached = [(route.destination, names.get(route.link, "")) for route in rtnetlink.routes(netlink)]
            reached += [
                (address.interface.network, names.get(address.link, ""))
                for address in rtnetlink.addresses(netlink)
            ]
        finally:
            netlink.close()
        return {network: link for network, link in reached if link != self.link}

    def _chosen_before(self) -> IPv4Network | None:
        choice = subnets.load(self._state_dir / "engine-network.json")
        return IPv4Network(choice.subnet) if choice else None

    def _given(self) -> subnets.Addresses:
        if self._addresses is None:
            raise Unavailable("the network is not open", hint="It opens when the daemon starts.")
        return self._addresses


class NoDockerNetwork:
    """No network: docker gives such a container a loopback and nothing else."""

    name = "docker-none"

    def __init__(self, state_dir: Path) -> None:
        self.dns_address = ""
        self._records = Records(state_dir / self.name)
        self._attached: dict[str, Attachment] = {}

    async def open(self) -> None:
        self._attached = {name: record.attachment for name, record in self._records.load().items()}

    async def close(self) -> None:
        self._attached = {}

    async def attach(self, allocation: str, ports: Iterable[str]) -> Attachment:
        check_allocation(allocation)
        if allocation not in self._attached:
            made = Attachment(allocation=allocation, ip="", network="none")
            self._records.save(Record(attachment=made))
            self._attached[allocation] = made
        return self._attached[allocation]

    async def detach(self, allocation: str) -> None:
        if self._attached.pop(allocation, None):
            self._records.remove(allocation)

    def attachments(self) -> Mapping[str, Attachment]:
        return dict(self._attached)

    async def unreachable(self, allocation: str) -> tuple[str, ...]:
        return ()

    async def publish(self, table: Mapping[Published, tuple[Backend, ...]]) -> Mapping[Published, str]:
        return dict.fromkeys(table, "an app without a network publishes nothing")

    async def prune(self, keep: set[str]) -> None:
        for allocation in self._attached.keys() - keep:
            await self.detach(allocation)

    async def destroy(self) -> None:
        self._records.destroy()
        self._attached = {}


def _own_addresses() -> set[IPv4Address]:
    netlink = Netlink()
    try:
        return {address.interface.ip for address in rtnetlink.addresses(netlink)}
    finally:
        netlink.close()
