"""The routed network of one node: no bridge, a `/32` address, a veth pair and a namespace for each allocation.

`wiring` lays one such wire, `publishing` serves ports, `subnets` says which addresses there are.

What outlives the daemon: namespaces pinned below `run_dir/netns`, a record of each complete attachment in
`run_dir/attachments`, links and routes in the kernel, and in `state_dir/network.json` the chosen subnet.
The record is written last and removed last, so whatever was cut off in the middle is seen and cleared by
`open`. Outside of its own links, table and directories it sets one thing, `net.ipv4.ip_forward`, and leaves
it set: by the time the node goes others may rely on it.

All kernel work happens in order on one worker thread with a netlink socket of its own.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

from hivemind.drivers.network import conntrack, netns, rtnetlink, subnets, wiring
from hivemind.drivers.network.contract import Attachment, Backend, Published
from hivemind.drivers.network.firewall import Firewall, without
from hivemind.drivers.network.netlink import Netlink
from hivemind.drivers.network.nftables import Nft, NftError
from hivemind.drivers.network.publishing import PublishedPorts
from hivemind.drivers.network.records import Record, Records, check_allocation, port_number
from hivemind.errors import Invalid, Unavailable, Unsupported

T = TypeVar("T")

_TEARDOWN = 2.0
"""Seconds that `destroy` lets the kernel take links apart by itself, which is cheaper than deleting them."""


class RoutedNetwork:
    """`node` is the node's id; `run_dir` must be lost on reboot or not matter then; `mtu` 0 means as outside."""

    name = "routed"

    def __init__(
        self,
        node: str,
        state_dir: Path,
        run_dir: Path,
        *,
        subnet: str = subnets.AUTO,
        mtu: int = 0,
        published_at: str = "0.0.0.0",
    ) -> None:
        digits = node[:8] if re.fullmatch(r"[0-9a-f]{8,}", node) else sha256(node.encode()).hexdigest()[:8]
        self.dns_address = ""
        self._node = node
        self._table = f"ip hivemind_{digits}"
        self._links = f"hm{digits[:4]}"
        self._label = f"lo:hm{digits}"
        self._wanted = subnets.parse(subnet)
        self._mtu = mtu
        self._published_at = _address(published_at)
        self._state_dir = state_dir
        self._pins = run_dir / "netns"
        self._records = Records(run_dir / "attachments")
        self._attached: dict[str, Record] = {}
        self._dead: set[str] = set()
        self._worker: ThreadPoolExecutor | None = None
        self.name_of: Callable[[str, str], str] = lambda client, address: address
        """As of `Observant`."""
        self._netlink: Netlink
        self._firewall: Firewall
        self._ports: PublishedPorts
        self._addresses: subnets.Addresses

    async def open(self) -> None:
        if self._worker is not None:
            return
        self._worker = ThreadPoolExecutor(1, "network")
        try:
            await self._run(self._open)
        except BaseException:
            self._worker.shutdown(wait=False)
            self._worker = None
            raise

    async def close(self) -> None:
        if self._worker is not None:
            await self._run(self._close)
            self._worker.shutdown()
            self._worker = None

    async def attach(self, allocation: str, ports: Iterable[str]) -> Attachment:
        wanted = {port: port_number(port) for port in ports}
        check_allocation(allocation)
        return await self._run(lambda: self._attach(allocation, wanted))

    async def detach(self, allocation: str) -> None:
        await self._run(lambda: self._detach(allocation))
        await self._run(self._forget_dead)  # The first of many detaching at once does it for all of them.

    def attachments(self) -> Mapping[str, Attachment]:
        return {name: record.attachment for name, record in self._attached.copy().items()}

    async def unreachable(self, allocation: str) -> tuple[str, ...]:
        return await self._run(lambda: self._unreachable(allocation))

    async def publish(self, table: Mapping[Published, tuple[Backend, ...]]) -> Mapping[Published, str]:
        wanted = dict(table)
        return await self._run(lambda: self._ports.publish(wanted))

    async def prune(self, keep: set[str]) -> None:
        wanted = set(keep)
        await self._run(lambda: self._prune(wanted))

    async def destroy(self) -> None:
        """Needs no `open` before, which might be just what fails."""
        await self.close()
        self._worker = ThreadPoolExecutor(1, "network")
        try:
            await self._run(self._destroy)
        finally:
            self._worker.shutdown()
            self._worker = None

    # From here on everything runs on the worker thread.

    async def _run(self, work: Callable[[], T]) -> T:
        if self._worker is None:
            raise Unavailable("the network is not open", hint="It opens when the daemon starts.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except netns.Stranded:
            self._worker.shutdown(wait=False)
            self._worker = ThreadPoolExecutor(1, "network")
            raise
        except NftError as error:
            raise Unavailable(
                f"the packet filter refused: {error}", hint="`hivemind doctor` says what this machine lacks."
            ) from error
        except OSError as error:
            raise Unavailable(
                f"the network failed: {error}", hint="It is tried again; `hivemind doctor` may know more."
            ) from error

    def _open(self) -> None:
        if os.geteuid() != 0:
            raise Unsupported(
                "the routed network needs root", hint="Run the daemon as root, or set network to host."
            )
        self._state_dir.mkdir(parents=True, exist_ok=True)
        try:
            netns.prepare(self._pins)
            self._netlink = Netlink()
            try:
                self._lay()
            except BaseException:
                self._netlink.close()
                raise
        except OSError as error:
            raise Unsupported(
                f"this machine cannot route for containers: {error}",
                hint="It needs veth links and namespaces, CAP_SYS_ADMIN and CAP_NET_ADMIN; "
                "or set network to host.",
            ) from error
        except NftError as error:
            raise Unsupported(
                f"nftables does not work here: {error}",
                hint="The kernel needs nf_tables with NAT; `modprobe nf_tables nft_chain_nat` may help.",
            ) from error

    def _lay(self) -> None:
        links = rtnetlink.links(self._netlink)
        routes = rtnetlink.routes(self._netlink)
        living = self._living(links, routes)
        subnet = self._choose_subnet(links, routes, living)
        wiring.set_sysctl("ipv4/ip_forward", "1")
        self._mtu = self._mtu or wiring.outer_mtu(links, routes)
        self._lay_node_address(links["lo"].index)
        cluster = subnets.cluster_of(subnet)
        self._firewall = Firewall(
            self._table, self._links, self._addresses.node, subnet, cluster, self._published_at
        )
        self._firewall.open()
        self._ports = PublishedPorts(self._firewall, self._netlink, self._published_at)
        self._attached = living
        for record in living.values():
            self._addresses.claim(IPv4Address(record.attachment.ip))
        self._remove_stale()
        self._forget_dead()

    def _living(
        self, links: Mapping[str, rtnetlink.Link], routes: Iterable[rtnetlink.Route]
    ) -> dict[str, Record]:
        """The recorded attachments of which everything is still there."""
        routed = {(route.destination, route.link) for route in routes}
        living = {}
        for allocation, record in self._records.load().items():
            link = links.get(record.link)
            whole = link is not None and link.index == record.index and (_host(record), link.index) in routed
            if whole and netns.is_pinned(self._pins / allocation):
                living[allocation] = record
            else:
                self._dead.add(record.attachment.ip)
                self._records.remove(allocation)
        return living

    def _choose_subnet(
        self,
        links: Mapping[str, rtnetlink.Link],
        routes: Iterable[rtnetlink.Route],
        living: Mapping[str, Record],
    ) -> IPv4Network:
        names = {link.index: link.name for link in links.values()}
        reached = [(route.destination, names.get(route.link, "")) for route in routes]
        reached += [
            (address.interface.network, names.get(address.link, ""))
            for address in rtnetlink.addresses(self._netlink)
            if address.label != self._label
        ]
        taken = {network: link for network, link in reached if not link.startswith(self._links)}
        path = self._state_dir / "network.json"
        choice = subnets.load(path)
        kept = IPv4Network(choice.subnet) if choice else None
        in_use = [IPv4Address(record.attachment.ip) for record in living.values()]
        subnet = subnets.choose(self._wanted, kept, taken, in_use)
        self._addresses = subnets.Addresses(subnet, path, choice)
        return subnet

    def _lay_node_address(self, loopback: int) -> None:
        """The node's own address is one of its loopback's: containers find the name server there."""
        self._take_back_node_address(besides=self._addresses.node)
        self._netlink.transact(
            rtnetlink.set_up(loopback),
            rtnetlink.add_address(loopback, self._addresses.node, self._label),
        )
        self.dns_address = str(self._addresses.node)

    def _attach(self, allocation: str, ports: dict[str, int]) -> Attachment:
        known = self._attached.get(allocation)
        if known is None:
            known = self._make(allocation, ports)
        elif known.attachment.ports != ports:
            known = _with_ports(known, ports)
            self._records.save(known)
        self._attached[allocation] = known
        return known.attachment

    def _make(self, allocation: str, ports: dict[str, int]) -> Record:
        address = self._addresses.give()
        link = self._links + secrets.token_hex(4)
        pin = self._pins / allocation
        attachment = Attachment(
            allocation=allocation,
            ip=str(address),
            netns=str(pin),
            ports=ports,
            nameserver=str(self._addresses.node),
        )
        try:
            index = wiring.connect(
                self._netlink, pin, link, address=address, node=self._addresses.node, mtu=self._mtu
            )
            record = Record(attachment=attachment, link=link, index=index)
            self._records.save(record)
        except BaseException as error:
            netns.delete(pin)
            self._delete_links({link})
            self._addresses.take_back(address)
            if isinstance(error, OSError):
                raise Unavailable(f"cannot attach {allocation} to the network: {error}") from error
            raise
        return record

    def _detach(self, allocation: str) -> None:
        """The link goes with its namespace, in the kernel's own time; address and route go now."""
        record = self._attached.get(allocation)
        if record is None:
            return
        netns.delete(self._pins / allocation)
        self._netlink.transact(rtnetlink.delete_route(_host(record), record.index))
        self._dead.add(record.attachment.ip)
        self._records.remove(allocation)
        self._addresses.take_back(IPv4Address(record.attachment.ip))
        del self._attached[allocation]

    def _unreachable(self, allocation: str) -> tuple[str, ...]:
        record = self._attached.get(allocation)
        if record is None:
            return ()
        ip = record.attachment.ip
        found = self._firewall.unreachable(IPv4Address(ip))
        return tuple(
            sorted(f"{self.name_of(ip, str(each.address))}:{each.port} {each.why}" for each in found)
        )

    def _forget_dead(self) -> None:
        if self._dead:
            dead, self._dead = {IPv4Address(ip) for ip in self._dead}, set()
            self._firewall.forget(dead)
            conntrack.forget(
                lambda flow: not dead.isdisjoint((flow.source, flow.destination, flow.answered_by))
            )

    def _prune(self, keep: set[str]) -> None:
        for allocation in self._attached.keys() - keep:
            self._detach(allocation)
        self._forget_dead()
        self._remove_stale()

    def _remove_stale(self) -> None:
        """Pins and links that belong to no attachment."""
        self._unpin(besides=self._attached.keys())
        self._delete_links(self._own_links() - {record.link for record in self._attached.values()})

    def _unpin(self, besides: Collection[str] = ()) -> None:
        for pin in self._pins.iterdir() if self._pins.exists() else ():
            if pin.name not in besides:
                netns.delete(pin)

    def _own_links(self) -> set[str]:
        """Only names of the form that we give."""
        form = re.compile(rf"{self._links}[0-9a-f]{{8}}")
        return {name for name in rtnetlink.links(self._netlink) if form.fullmatch(name)}

    def _delete_links(self, names: set[str]) -> None:
        links = rtnetlink.links(self._netlink) if names else {}
        for name in names & links.keys():
            self._netlink.transact(rtnetlink.delete_link(links[name].index))

    def _destroy(self) -> None:
        self._netlink = Netlink()
        try:
            self._unpin()
            deadline = time.monotonic() + _TEARDOWN
            while self._own_links() and time.monotonic() < deadline:
                time.sleep(0.01)
            self._delete_links(self._own_links())
            self._take_back_node_address()
        finally:
            self._netlink.close()
        self._forget_subnet()
        netns.release(self._pins)
        self._records.destroy()
        for left in self._state_dir.glob("network.json*"):
            left.unlink()
        self._attached.clear()
        self.dns_address = ""
        nft = Nft()
        try:
            nft.apply(without(self._table))
        finally:
            nft.close()

    def _take_back_node_address(self, besides: IPv4Address | None = None) -> None:
        for address in rtnetlink.addresses(self._netlink):
            if address.label == self._label and address.interface.ip != besides:
                self._netlink.transact(rtnetlink.delete_address(address.link, address.interface.ip))

    def _forget_subnet(self) -> None:
        choice = subnets.load(self._state_dir / "network.json")
        if choice:
            subnet = IPv4Network(choice.subnet)
            conntrack.forget(
                lambda flow: any(ip in subnet for ip in (flow.source, flow.destination, flow.answered_by))
            )

    def _close(self) -> None:
        self._ports.close()
        self._netlink.close()


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise Invalid(
            f"{text!r} is not an IPv4 address",
            hint="network.publish_host is one of this machine's, or 0.0.0.0",
        ) from None


def _host(record: Record) -> IPv4Network:
    return IPv4Network(record.attachment.ip)


def _with_ports(record: Record, ports: dict[str, int]) -> Record:
    known = record.attachment
    changed = Attachment(
        allocation=known.allocation, ip=known.ip, netns=known.netns, ports=ports, nameserver=known.nameserver
    )
    return Record(attachment=changed, link=record.link, index=record.index)
