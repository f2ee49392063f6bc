"""Whether the other side is still thought to be there: what is quiet for long is asked, and then given up."""

from __future__ import annotations

from hivemind.protocols.machine import Micros
from hivemind.protocols.mux.limits import Limits


class Liveness:
    __slots__ = ("_asked", "_heard_at", "_limits", "_probed_until")

    def __init__(self, limits: Limits, now: Micros) -> None:
        self._limits = limits
        self._heard_at = now
        self._asked = False
        self._probed_until: Micros | None = None

    @property
    def deadline(self) -> Micros:
        """When it has to be asked, or is given up."""
        if self._probed_until is not None:
            return self._probed_until
        return self._heard_at + (self._limits.dead_after if self._asked else self._limits.ping_after)

    @property
    def asked(self) -> bool:
        """It was asked, and has said nothing since."""
        return self._asked or self.probed

    @property
    def probed(self) -> bool:
        """It was asked because there is doubt."""
        return self._probed_until is not None

    def heard(self, now: Micros) -> None:
        """It said something, whatever it was."""
        self._heard_at, self._asked, self._probed_until = now, False, None

    def ask(self) -> None:
        """It is asked because it has been quiet for long."""
        self._asked = True

    def probe(self, until: Micros) -> None:
        """It is asked because there is doubt, and has to say something until then."""
        self._probed_until = until
