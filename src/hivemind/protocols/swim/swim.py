"""One member's machine: see the package for what it does."""

from __future__ import annotations

from hivemind.protocols.machine import Dice, Micros, Signer, Verifier
from hivemind.protocols.swim.events import Effect, Input, Status
from hivemind.protocols.swim.settings import Settings
from hivemind.protocols.swim.statements import Alive, Allowed


class Swim:
    """`me`: what it says of itself at first; its incarnation must be higher than at its last start, or it learns
    that from the others. `signer.public` is its id. `allowed` says who belongs to the hive now.

    Before the first event `deadline()` is 0: give it a `Tick`. All events are in `events.Input`."""

    def __init__(
        self,
        me: Alive,
        signer: Signer,
        verify: Verifier,
        dice: Dice,
        settings: Settings,
        hive: str,
        *,
        allowed: Allowed = lambda node: True,
    ) -> None:
        raise NotImplementedError

    def handle(self, event: Input, now: Micros) -> list[Effect]:
        raise NotImplementedError

    def deadline(self) -> Micros | None:
        raise NotImplementedError

    def status(self, node: str) -> Status | None:
        """None: not known."""
        raise NotImplementedError

    def check(self) -> None:
        raise NotImplementedError
