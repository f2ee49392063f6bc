"""What the scheduler is asked and what it answers. Values in, values out."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from hivemind.model.node import Node


class Spot(NamedTuple):
    """Where something runs: a node, and where that stands in the network (microseconds)."""

    node: str
    zone: str = ""
    position: tuple[int, ...] = ()
    height: int = 0


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One allocation that wants a place."""

    id: str
    app: str
    """Id of the app: replicas of one app are spread or packed with regard to each other."""
    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0
    host_ports: tuple[str, ...] = ()
    """`"8080/tcp"`: published ports; two different apps cannot have the same on one node."""
    alone: bool = False
    """Nor can two of its own replicas: they listen on the node itself."""
    constraints: tuple[str, ...] = ()
    """`node.labels.zone==eu`, `node.name!=a`, `node.arch==amd64`, `node.os==linux`, `node.id==…`."""
    runtime: str = "auto"
    image: str = ""
    os: str = ""
    arch: str = ""
    """Platform of the image, when known."""
    placement: str = "spread"
    priority: int = 50
    task: bool = False
    """An attempt of a task: it takes one of the node's slots for these."""
    executor: str = ""
    """By which a task is run; the node has to have it."""
    volumes: tuple[tuple[str, str], ...] = ()
    """Volumes that it mounts and that are on one node only: name and id of that node."""
    zone: str = ""
    """The zone in which the next replica of its app is due; empty: any is as good."""
    near: tuple[Spot, ...] = ()
    """Where that runs which it depends on."""
    avoid: tuple[str, ...] = ()
    """Nodes where it failed before: only used when nothing else fits."""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What is already placed on one node, per app: `{app: replicas}`, and what that sets aside."""

    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0
    tasks: int = 0
    """Attempts of tasks; they stand in `apps`, too, each by its own id."""
    apps: dict[str, int] = {}
    ports: dict[str, str] = {}
    """Published port -> id of the app that holds it."""


class Hints(msgspec.Struct, frozen=True, kw_only=True):
    """Agreed samples that only make placements better: never needed for a right one."""

    images: dict[str, frozenset[str]] = {}
    """Image reference -> nodes that hold it."""
    zones: dict[str, frozenset[str]] = {}
    """Zone -> ids of the nodes in it; empty where there are none to choose from."""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    ask: str
    node: str = ""
    """Empty: no node fits. `explanation` says why: `0 of 5 nodes fit: 3 lack 2GiB memory, 2 are drained`."""
    explanation: str = ""
    scores: dict[str, float] = {}
    """Score of the chosen node by scorer, for `describe`."""


__all__ = ["Ask", "Hints", "Node", "Placement", "Spot", "Use"]
