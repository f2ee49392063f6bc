"""A node must have as many cores and GPUs, and as much memory, left as the ask sets aside."""

from __future__ import annotations

from hivemind.model.node import Node
from hivemind.model.quantity import show_bytes
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.filters.contract import Filter, Reason
from hivemind.scheduler.load import Load, micros


def check(node: Node, load: Load, ask: Ask) -> Reason | None:
    short_of_memory = ask.memory > 0 and load.memory + ask.memory > node.memory
    short_of_cpu = ask.cpus > 0 and load.cpus + micros(ask.cpus) > micros(node.cpus)
    short_of_gpus = ask.gpus > 0 and load.gpus + ask.gpus > node.gpus
    if not (short_of_memory or short_of_cpu or short_of_gpus):
        return None
    wants = []
    if short_of_memory:
        wants.append(f"{show_bytes(ask.memory)} memory")
    if short_of_cpu:
        wants.append(f"{ask.cpus:g} {'core' if ask.cpus == 1 else 'cores'}")
    if short_of_gpus:
        wants.append(f"{ask.gpus} {'GPU' if ask.gpus == 1 else 'GPUs'}")
    lacking = " and ".join(wants)
    return Reason(f"lacks {lacking}", f"lack {lacking}")


FILTER = Filter(
    "resources",
    check,
    reads=("cpus", "memory", "gpus"),
    concerns=lambda ask: ask.cpus > 0 or ask.memory > 0 or ask.gpus > 0,
    watches_load=True,
)
