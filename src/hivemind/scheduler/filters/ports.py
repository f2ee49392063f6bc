"""A published port belongs to one app on each node; all replicas of that app share it, unless they listen on the
node itself."""

from __future__ import annotations

from collections.abc import Collection

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.filters.contract import Filter, Holders, Reason
from hivemind.scheduler.load import Load


def check(node: Node, load: Load, ask: Ask) -> Reason | None:
    taken = [port for port in ask.host_ports if load.ports.get(port, ask.app) != ask.app]
    if not taken:
        if ask.alone and any(port in load.ports for port in ask.host_ports):
            return Reason("has a replica on these ports already", "have a replica on these ports already")
        return None
    ports = f"port {taken[0]}" if len(taken) == 1 else f"ports {', '.join(sorted(taken))}"
    return Reason(f"already publishes {ports} for another app", f"already publish {ports} for another app")


def _holders(ask: Ask, holders: Holders) -> Collection[str]:
    return {id for port in ask.host_ports for id in holders.get(port, ())}


FILTER = Filter(
    "ports",
    check,
    reads=("host_ports", "alone", "app"),
    concerns=lambda ask: bool(ask.host_ports),
    watches_load=True,
    suspects=_holders,
)
