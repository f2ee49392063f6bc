"""A node's part in agreement: Castro & Liskov's PBFT (OSDI '99, TOCS '02), with epochs.

One machine for every node. In an epoch that lists the node it is a voter; in any other a learner, which follows
commit certificates. It becomes the other when the chain of epochs says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.protocols.machine import Dice, Micros, Signer
from hivemind.protocols.pbft.epochs import Epochs
from hivemind.protocols.pbft.events import Effect, Event, Host, Position, Standing
from hivemind.protocols.pbft.settings import Settings


class Replica:
    """`epochs`: the chain as far as the host has kept it (`EpochBegan`). `position`: what the host has executed.
    `records`: what `Persist` kept, in order; one that cannot be read raises `Corrupt`, the host drops a torn tail
    itself. `amnesiac`: this node may have voted before and its records are gone: it abstains until nothing that it
    may have voted on can matter any more."""

    def __init__(
        self,
        *,
        signer: Signer,
        epochs: Epochs,
        position: Position,
        host: Host,
        dice: Dice,
        settings: Settings | None = None,
        records: Sequence[bytes] = (),
        amnesiac: bool = False,
    ) -> None:
        raise NotImplementedError

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        """Effects are performed in order, see `events`. Never raises for what comes from others."""
        raise NotImplementedError

    def deadline(self) -> Micros | None:
        """Call `handle(Tick(), now)` once before the first: it says hello and sets its timers."""
        raise NotImplementedError

    def standing(self) -> Standing:
        raise NotImplementedError

    def check(self) -> None:
        raise NotImplementedError
