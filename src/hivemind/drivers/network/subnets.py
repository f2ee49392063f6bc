"""Which addresses a node gives away: its subnet, chosen once, and the address of each allocation within."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from pathlib import Path

import msgspec

from hivemind.drivers.network.records import write_whole
from hivemind.errors import Conflict, Corrupt, Invalid, Unavailable

_POOLS = tuple(IPv4Network(pool) for pool in ("10.200.0.0/16", "172.30.0.0/16", "192.168.192.0/18"))
"""`auto` takes a node's share from the first of these that has a free one."""
_SHARE = 22
_AHEAD = 64
"""So many addresses are given away between two writes of the cursor."""

AUTO = "auto"


class Choice(msgspec.Struct, frozen=True):
    subnet: str
    cursor: int = 0
    """Host numbers below this one may have been given away before the last restart."""


def load(path: Path) -> Choice | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Choice)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Corrupt(
            f"{path} does not hold a subnet: {error}", hint="Remove it; a subnet is chosen anew."
        ) from None


def parse(setting: str) -> IPv4Network | None:
    """None for `auto`. Raises Invalid for what cannot be a node's subnet."""
    if setting == AUTO:
        return None
    hint = "Set network.subnet to auto, or to an IPv4 network such as 10.200.0.0/22."
    try:
        subnet = IPv4Network(setting)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise Invalid(f"network.subnet is not an IPv4 network: {error}", hint=hint) from None
    if not 8 <= subnet.prefixlen <= 29:
        raise Invalid(f"network.subnet {subnet} must have a prefix from /8 to /29", hint=hint)
    return subnet


def choose(
    wanted: IPv4Network | None,
    kept: IPv4Network | None,
    taken: Mapping[IPv4Network, str],
    in_use: Iterable[IPv4Address],
) -> IPv4Network:
    """The node's subnet: what the setting wants, else what it had, else the first free share.

    `taken` are the networks this machine reaches otherwise, each with the name of its link; `in_use` the
    addresses of living allocations, which pin the subnet down. Raises Conflict naming what clashes."""
    living = list(in_use)
    if living:
        if kept is None or (wanted is not None and wanted != kept):
            raise Conflict(
                f"network.subnet is {wanted or AUTO}, but {len(living)} allocations live on {kept or living[0]}",
                hint=f"Set network.subnet to {kept or AUTO}, or stop these allocations first.",
            )
        return kept
    if wanted is not None:
        clash = _clash(wanted, taken)
        if clash:
            raise Conflict(
                f"network.subnet {wanted} clashes with {clash}",
                hint="Set network.subnet to a network that nothing else uses, or to auto.",
            )
        return wanted
    if kept is not None and not _clash(kept, taken):
        return kept
    for pool in _POOLS:
        for share in pool.subnets(new_prefix=_SHARE):
            if not _clash(share, taken):
                return share
    raise Conflict(
        f"no subnet is free: {', '.join(map(str, _POOLS))} all clash with routes of this machine, "
        f"the first with {_clash(_POOLS[0], taken)}",
        hint="Set network.subnet to an IPv4 network that nothing else uses.",
    )


def cluster_of(subnet: IPv4Network) -> IPv4Network:
    """The network of all nodes that `subnet` is a share of; traffic within it keeps its addresses."""
    return next((pool for pool in _POOLS if subnet.subnet_of(pool)), subnet)


def _clash(subnet: IPv4Network, taken: Mapping[IPv4Network, str]) -> str:
    for network, link in taken.items():
        if network.prefixlen and network.overlaps(subnet):
            return f"the route {network} by {link}" if link else f"the route {network}"
    return ""


class Addresses:
    """Gives every allocation an address of its own, the longest unused one first, also across restarts."""

    def __init__(self, subnet: IPv4Network, path: Path, choice: Choice | None) -> None:
        self.subnet = subnet
        self.node = subnet[1]
        self._path = path
        self._taken: set[IPv4Address] = set()
        self._cursor = choice.cursor if choice and choice.subnet == str(subnet) else 0
        self._written = self._cursor
        self._write()

    def claim(self, address: IPv4Address) -> None:
        self._taken.add(address)

    def give(self) -> IPv4Address:
        """Raises Unavailable when every address is taken."""
        hosts = self.subnet.num_addresses - 3  # Neither the network, nor the node, nor the broadcast address.
        for _ in range(hosts):
            address = self.subnet[2 + self._cursor % hosts]
            self._cursor = (self._cursor + 1) % hosts
            if self._cursor == 0 or self._cursor >= self._written:
                self._write()
            if address not in self._taken:
                self._taken.add(address)
                return address
        raise Unavailable(
            f"all {hosts} addresses of {self.subnet} are taken",
            hint="Stop allocations on this node, or give it a larger network.subnet.",
        )

    def take_back(self, address: IPv4Address) -> None:
        self._taken.discard(address)

    def _write(self) -> None:
        self._written = self._cursor + _AHEAD
        write_whole(self._path, msgspec.json.encode(Choice(str(self.subnet), self._written)))
