"""What the machine must know of a writer's log; the log itself is on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from hivemind.protocols.autobee.entry import Ack, Body, Head, decode_body, read
from hivemind.protocols.autobee.log import BODY, Piece
from hivemind.protocols.autobee.steps import Settings
from hivemind.protocols.autobee.tree import Peaks
from hivemind.protocols.machine import SECOND, Micros
from hivemind.security.statement import Statement

_RECENT = 16
"""Roots of a log that are remembered."""


class WriterLog:
    """A writer's log, as far as the machine must know it."""

    def __init__(self, writer: str) -> None:
        self.writer = writer
        self.fork = 0
        self.peaks = Peaks()
        self.head: Statement | None = None
        self.behind: tuple[Piece, ...] = ()
        self.roots: dict[int, Statement] = {}
        self.waiting: deque[Body] = deque()
        """Here, and not yet delivered to the view."""
        self.clock = 0
        """All that is yet to come of it has a greater one."""
        self.ack: Statement | None = None
        self.evidence = b""
        self.size = 0
        self.asked: Micros | None = None
        self.mended: Micros | None = None
        self.mender = ""
        """Who was asked what of it lives, and has not answered."""
        self.missing: frozenset[int] = frozenset()
        self.coming: tuple[Peaks, list[Piece], int] | None = None
        """A log of a higher fork, or cleared differently, that replaces this one when it is whole; its fork."""
        self.allowance = 0.0
        self.measured: Micros | None = None

    @property
    def length(self) -> int:
        return self.peaks.length

    @property
    def delivered(self) -> int:
        return self.waiting[0].sequence - 1 if self.waiting else self.length

    @property
    def signed(self) -> int:
        """The length that its writer has signed, as far as was heard."""
        head = self.behind[-1].end if self.behind else self.length
        ack = read(self.ack) if self.ack is not None else None
        return max(head, ack.length) if isinstance(ack, Ack) and ack.fork == self.fork else head

    def took(self, head: Statement, behind: tuple[Piece, ...], said: Head) -> None:
        self.head, self.behind, self.fork = head, behind, said.fork
        self.roots[said.length] = head
        while len(self.roots) > _RECENT:
            del self.roots[next(iter(self.roots))]

    def affords(self, price: int, settings: Settings, now: Micros) -> bool:
        """A token bucket, and a limit to what is kept of it. Only what its writer has signed is paid for (`pay`): who
        passes other things on in its name would use up what it has."""
        if self.measured is None:
            self.allowance = float(settings.burst)
        else:
            self.allowance += (now - self.measured) * settings.rate / SECOND
        self.measured = now
        self.allowance = min(self.allowance, float(settings.burst))
        return price <= self.allowance and self.size + price <= settings.largest_log

    def pay(self, price: int) -> None:
        self.allowance -= price


def bodies_of(pieces: Iterable[Piece]) -> list[Body]:
    """Those that say something; the others count as cleared."""
    found = (decode_body(piece.data, piece.start + 1) for piece in pieces if piece.level == BODY)
    return [body for body in found if body is not None]
