"""What a liar is: a mind between a correct machine and the world, with the node's real key in its hand."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, ClassVar

from hivemind.protocols.machine import Send, Signer
from hivemind.sim.process import Process
from hivemind.sim.world import World


class Adversary:
    """One for each lying node; a subclass for each lie. What is not overridden is honest.

    `evidence`: what the coverage of a run must contain, so that it counts: a lie that was never told proves nothing.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    """The lie, in words."""
    evidence: ClassVar[Sequence[str]] = ()
    convicts: ClassVar[bool] = False
    """It can be proved: somebody honest must have the proof in the end."""
    calm: ClassVar[bool] = False
    """The proof is only certain where nothing gets lost: it is demanded in worlds without faults."""
    beyond: ClassVar[bool] = False
    """More lie than the protocol tolerates: it is demanded that they are found out, not that nothing happens."""
    nodes: ClassVar[int | None] = None
    """How many nodes the world should have; None: as many as was asked for."""
    mute: ClassVar[bool] = False
    """It answers nobody: others take it for gone."""
    same_voters: ClassVar[bool] = False
    """The lie needs its turn among the first voters: nobody wishes for others."""

    def __init__(self, world: World, process: Process, key: Signer) -> None:
        self.world, self.process, self.key = world, process, key
        self.dice: Random = world.dice("adversary", self.name, process.label)

    @classmethod
    def liars(cls, nodes: Sequence[str], faulty: int) -> tuple[str, ...]:
        """Which of `nodes`, of whom `faulty` may lie. The first is the primary of view 0."""
        return tuple(nodes[:faulty])

    def begin(self) -> None:
        """The world begins."""

    def healed(self) -> None:
        """The faults are over. Liars go on lying."""

    def tell(self, what: str) -> None:
        """Coverage, and a line in the trace."""
        self.world.cover(what)
        self.world.note(self.process.label, "lies:", what)

    def hears(self, process: Process, event: Any) -> Any | None:
        return event

    def does(self, process: Process, event: Any, effects: list[Any]) -> list[Any]:
        done: list[Any] = []
        for effect in effects:
            if isinstance(effect, Send):
                done += self.sends(effect)
            else:
                done.append(effect)
        return done

    def sends(self, send: Send) -> list[Any]:
        return [send]

    def now_send(self, to: str, message: bytes) -> None:
        """Of its own accord."""
        if self.process.up and not self.process.frozen:
            self.process.do([Send(to, message)])
