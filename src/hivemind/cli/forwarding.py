"""Whether another firewall of this machine (docker's, firewalld's, one's own) keeps packets from containers.

Hivemind leaves foreign rules alone, and a rule of its own cannot overrule a drop elsewhere: so `hivemind doctor`
finds the drop and shows the command that lets Hivemind's links, all named `hm…`, through.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from hivemind.cli.findings import OK, WARN, Finding, Machine

_IPTABLES = ("INPUT", "FORWARD", "OUTPUT")
_POOL = "10.200.0.0/16"
"""Where a node's addresses come from unless it is set up otherwise."""


class _Chain(NamedTuple):
    family: str
    table: str
    name: str

    @property
    def mend(self) -> str:
        insert = f"nft insert rule {self.family} {self.table} {self.name}"
        return f"{insert} iifname 'hm*' accept && {insert} oifname 'hm*' accept"


def forward_policy(machine: Machine) -> Finding:
    chains = _forwarding(machine)
    if any(chain.table == "firewalld" for chain, _ in chains):
        return Finding(
            WARN,
            "firewalld decides what is forwarded: it may keep others from published ports",
            f"firewall-cmd --permanent --zone=trusted --add-source={_POOL} && firewall-cmd --reload",
        )
    if machine.output("iptables", "-S", "FORWARD").startswith("-P FORWARD DROP") and not _let_through(
        machine
    ):
        return Finding(
            WARN,
            "iptables drops what is forwarded: containers reach nothing and nobody reaches them",
            "iptables -I FORWARD -i hm+ -j ACCEPT && iptables -I FORWARD -o hm+ -j ACCEPT",
        )
    for chain, policy in chains:
        if policy == "drop" and chain.name not in _IPTABLES and not _accepted(machine, chain):
            return Finding(
                WARN, f"nftables' chain {chain.table} {chain.name} drops what is forwarded", chain.mend
            )
    return Finding(OK, "no firewall stands in the way of what is forwarded")


def _let_through(machine: Machine) -> bool:
    rules = machine.output("iptables", "-S", "FORWARD").splitlines()
    return all(f"-A FORWARD -{side} hm+ -j ACCEPT" in rules for side in "io")


def _accepted(machine: Machine, chain: _Chain) -> bool:
    rules = machine.output("nft", "list", "chain", chain.family, chain.table, chain.name)
    return all(f'{side}ifname "hm*"' in rules for side in "io")


def _forwarding(machine: Machine) -> list[tuple[_Chain, str]]:
    """Every chain that sees forwarded IPv4 packets, with its policy. None where nft may not be asked."""
    try:
        listed: dict[str, Any] = msgspec.json.decode(machine.output("nft", "-j", "list", "chains") or "{}")
    except msgspec.DecodeError:
        return []
    chains = [item["chain"] for item in listed.get("nftables", []) if "chain" in item]
    return [
        (_Chain(c["family"], c["table"], c["name"]), c.get("policy", "accept"))
        for c in chains
        if c.get("hook") == "forward" and c["family"] in ("ip", "inet")
    ]
