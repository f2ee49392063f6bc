"""The load of one node while placing: what is on it already and what this round has put there."""

from __future__ import annotations

from hivemind.scheduler.contract import Ask, Use

MICRO = 1_000_000


def micros(cores: float) -> int:
    """Cores as whole millionths, so that sums do not depend on their order."""
    return round(cores * MICRO)


class Load:
    """Like `Use`, but it grows. CPU is counted in millionths of a core."""

    __slots__ = ("apps", "cpus", "gpus", "memory", "ports", "replicas", "tasks")

    def __init__(self, use: Use | None = None) -> None:
        self.cpus = micros(use.cpus) if use else 0
        self.memory = use.memory if use else 0
        self.gpus = use.gpus if use else 0
        self.tasks = use.tasks if use else 0
        self.apps: dict[str, int] = dict(use.apps) if use else {}
        self.ports: dict[str, str] = dict(use.ports) if use else {}
        self.replicas = sum(self.apps.values())

    def add(self, ask: Ask) -> None:
        self.cpus += micros(ask.cpus)
        self.memory += ask.memory
        self.gpus += ask.gpus
        self.tasks += ask.task
        self.apps[ask.app] = self.apps.get(ask.app, 0) + 1
        self.replicas += 1
        for port in ask.host_ports:
            self.ports[port] = ask.app
