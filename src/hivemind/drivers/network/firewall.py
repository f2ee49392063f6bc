"""The one nftables table of a node: NAT for its allocations, and published ports balanced over backends.

The rules live in the kernel, so ports keep answering while the daemon is down. Every change is one atomic
transaction that touches only the ports that differ, and connections already tracked stay where they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network

from hivemind.drivers.network import unreached
from hivemind.drivers.network.contract import Backend, Published
from hivemind.drivers.network.nftables import Nft, NftError

Table = Mapping[Published, tuple[Backend, ...]]


class Firewall:
    """`links` is the prefix of the names of the node's links, `node` its own address in `subnet`; `published_at`
    the address of this machine at which published ports answer, 0.0.0.0 for all."""

    def __init__(
        self,
        table: str,
        links: str,
        node: IPv4Address,
        subnet: IPv4Network,
        cluster: IPv4Network,
        published_at: IPv4Address,
    ) -> None:
        self.table = table
        self._links = links
        self._node = node
        self._subnet = subnet
        self._cluster = cluster
        self._published_at = published_at
        self._nft = Nft()
        self._laid: dict[Published, tuple[Backend, ...]] | None = None
        """What the kernel holds; None when only the kernel knows."""

    def open(self) -> None:
        """Lays the base rules; the ports that an earlier life published keep working meanwhile."""
        try:
            self._nft.apply(self._base())
        except NftError:  # Another version laid a table of another shape.
            try:
                self._nft.apply([*without(self.table), *self._base()])
            except NftError:
                self._nft.close()
                raise
        self._watch()

    def close(self) -> None:
        self._nft.close()

    @property
    def laid(self) -> Table | None:
        """What is published as far as we know; None before the first `publish`."""
        return self._laid

    def publish(self, table: Table) -> None:
        """Makes exactly this table hold. Raises NftError when nft fails twice."""
        wanted = {port: tuple(sorted(set(backends))) for port, backends in table.items()}
        if self._laid is not None:
            try:
                self._nft.apply([f"list chain {self.table} source", *self._difference(self._laid, wanted)])
            except NftError:
                self._laid = None  # Somebody flushed our table, or we cannot know: write it anew.
        if self._laid is None:
            self._nft.apply([*without(self.table), *self._base(), *self._difference({}, wanted)])
            self._watch()
        self._laid = wanted

    def unreachable(self, source: IPv4Address) -> list[unreached.Failure]:
        """Where the allocation at that address could not connect."""
        return [failure for _, failure in unreached.failures(self.table, {source})]

    def forget(self, sources: Collection[IPv4Address]) -> None:
        """The addresses are other allocations' from now on."""
        for source, failure in unreached.failures(self.table, sources):
            with suppress(NftError):
                self._nft.apply([unreached.forgetting(self.table, source, failure)])

    def _watch(self) -> None:
        """A kernel that cannot do this serves all the rest; `unreachable` then finds nothing."""
        with suppress(NftError):
            self._nft.apply(unreached.base(self.table, self._links))

    def _base(self) -> list[str]:
        """Idempotent: what is there already stays, the rules of the base chains are replaced."""
        mine = f'"{self._links}*"'
        concerns = f"{self._here()} meta l4proto . th dport"
        hooks = {
            "protect": "filter hook prerouting priority raw",
            "incoming": "nat hook prerouting priority dstnat",
            "own": "nat hook output priority -100",
            "source": "nat hook postrouting priority srcnat",
            "refuse": "filter hook input priority filter",
        }
        rules = [
            # route_localnet lets the node reach containers from 127.0.0.1; containers get nothing by it.
            ("protect", f"iifname {mine} ip daddr 127.0.0.0/8 drop"),
            ("incoming", f"{concerns} vmap @published"),
            ("own", f"{concerns} vmap @published"),
            # Who reaches itself through its published port must get the answer by way of the node.
            ("source", f"ct status dnat ip saddr . ip daddr @hairpin snat to {self._node}"),
            ("source", f"ct status dnat ip saddr 127.0.0.0/8 oifname {mine} snat to {self._node}"),
            (
                "source",
                f"ip saddr {self._subnet} ip daddr != {self._cluster} oifname != {mine} masquerade",
            ),
            ("refuse", f"meta l4proto tcp {concerns} @refused reject with tcp reset"),
            ("refuse", f"{concerns} @refused reject with icmp type port-unreachable"),
        ]
        port = "type inet_proto . inet_service"
        return [
            f"add table {self.table}",
            f"add map {self.table} published {{ {port} : verdict; }}",
            f"add set {self.table} refused {{ {port}; }}",
            f"add set {self.table} hairpin {{ type ipv4_addr . ipv4_addr; }}",
            *(f"add chain {self.table} {n} {{ type {h}; policy accept; }}" for n, h in hooks.items()),
            *(f"flush chain {self.table} {name}" for name in hooks),
            *(f"add rule {self.table} {chain} {rule}" for chain, rule in rules),
        ]

    def _here(self) -> str:
        """Matches what is addressed to a published port. The node itself and its containers always may."""
        if self._published_at == IPv4Address(0):
            return "fib daddr type local"
        more = "" if self._published_at.is_loopback else f", {self._published_at}"
        return f"ip daddr {{ 127.0.0.0/8, {self._node}{more} }}"

    def _difference(self, laid: Table, wanted: Table) -> list[str]:
        statements: list[str] = []
        for port in sorted(laid.keys() | wanted.keys()):
            before, after = laid.get(port), wanted.get(port)
            if before != after:
                statements += self._port(port, before, after)
        old, new = _addresses(laid), _addresses(wanted)
        statements += [f"delete element {self.table} hairpin {{ {ip} . {ip} }}" for ip in sorted(old - new)]
        statements += [f"add element {self.table} hairpin {{ {ip} . {ip} }}" for ip in sorted(new - old)]
        return statements

    def _port(
        self, port: Published, before: tuple[Backend, ...] | None, after: tuple[Backend, ...] | None
    ) -> list[str]:
        """From `before` to `after`; None is not published, an empty tuple refuses connections."""
        chain, key = f"{port.protocol}_{port.port}", f"{port.protocol} . {port.port}"
        statements = []
        if before == ():
            statements.append(f"delete element {self.table} refused {{ {key} }}")
        if before and not after:
            statements.append(f"delete element {self.table} published {{ {key} }}")
            statements.append(f"delete chain {self.table} {chain}")
        if after == ():
            statements.append(f"add element {self.table} refused {{ {key} }}")
        if after:
            statements.append(f"add chain {self.table} {chain}")
            statements.append(f"flush chain {self.table} {chain}")
            statements.append(f"add rule {self.table} {chain} {_balance(port.protocol, after)}")
            if not before:
                statements.append(f"add element {self.table} published {{ {key} : goto {chain} }}")
        return statements


def without(table: str) -> list[str]:
    """Removes a table, there or not."""
    return [f"add table {table}", f"delete table {table}"]


def _balance(protocol: str, backends: tuple[Backend, ...]) -> str:
    start = f"meta l4proto {protocol} dnat to"
    if len(backends) == 1:
        return f"{start} {backends[0][0]}:{backends[0][1]}"
    choices = ", ".join(f"{n} : {ip} . {port}" for n, (ip, port) in enumerate(backends))
    return f"{start} numgen random mod {len(backends)} map {{ {choices} }}"


def _addresses(table: Table) -> set[str]:
    return {ip for backends in table.values() for ip, _ in backends}
