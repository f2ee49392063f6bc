"""What is run in a world: the nodes of one protocol, what is asked of them, and what must hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from hivemind.protocols.machine import SECOND, Micros
from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.clock import Clock
from hivemind.sim.faults import Stage
from hivemind.sim.network import Network
from hivemind.sim.process import Process
from hivemind.sim.world import World


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A run is a function of these and of the program, of nothing else."""

    seed: int
    protocol: str
    nodes: int = 4
    faults: tuple[str, ...] = ()
    adversary: str = ""
    seconds: float = 10.0
    """Of the world's time, under faults; healing comes after."""
    real_crypto: bool = False
    only_faults: tuple[int, ...] | None = None
    """Which faults of the seed's plan happen, by their numbers; None: all."""
    only_operations: tuple[int, ...] | None = None
    mutant: str = ""
    """A defect that is planted, to see whether it is found."""

    @property
    def span(self) -> Micros:
        return int(self.seconds * SECOND)


class Scenario(ABC):
    """One protocol's world. `world`, `network` and `processes` are there before `begin`."""

    name: ClassVar[str]
    patience: ClassVar[Micros] = 60 * SECOND
    """How long after healing progress may take."""
    world: World
    network: Network
    processes: dict[str, Process]
    """By their ids, in their order."""

    def __init__(self, world: World, settings: Settings, kind: type[Adversary] | None = None) -> None:
        """`kind`: how those lie that may."""
        self.world, self.settings = world, settings

    @abstractmethod
    def operations(self) -> Sequence[Any]:
        """What will be asked, from the seed."""

    @abstractmethod
    def begin(self, operations: Sequence[Any]) -> None:
        """Starts every node, and plans those operations."""

    @abstractmethod
    def check(self) -> None:
        """After every event. Raises `Violation`."""

    @abstractmethod
    def recovered(self) -> bool:
        """After healing: whether everything that should be done by now is done, everywhere."""

    def stage(self) -> Stage:
        return Stage(self.world, self.network, self.processes)

    def frail(self) -> tuple[str, ...]:
        """Those to whom lasting harm may be done without breaking what the protocol presumes."""
        return ()

    @abstractmethod
    def healed(self) -> None:
        """The faults are over."""

    @abstractmethod
    def unmet(self) -> str:
        """What `recovered` still waits for, for people."""

    @abstractmethod
    def finish(self) -> None:
        """At the very end: what can only be judged over the whole history. Raises `Violation`."""

    @staticmethod
    def describe(message: bytes) -> str:
        return f"{len(message)} bytes"

    def clock(self, node: str) -> Clock:
        """A little wrong, and differently on each node."""
        dice = self.world.dice("clock", node)
        return Clock(drift=dice.randrange(400) - 200, offset=dice.randrange(200) - 100)
