"""Questions to others: so many at once, each asked again with growing patience, and answered by whom it was for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from hivemind.protocols.kademlia.ids import Address
from hivemind.protocols.kademlia.settings import Settings
from hivemind.protocols.kademlia.wire import Answer, Ask
from hivemind.protocols.machine import Dice, Micros

Answered = Callable[[str, Answer], None]
"""Who answered, and what."""
Given = Callable[[], None]


def ignore() -> None:
    """Nobody cares."""


class Asked:
    __slots__ = ("address", "answered", "ask", "due", "failed", "late", "number", "tried", "tries")

    def __init__(
        self, address: Address, ask: Ask, tries: int, answered: Answered, failed: Given, late: Given
    ) -> None:
        self.address, self.ask, self.tries = address, ask, tries
        self.answered, self.failed, self.late = answered, failed, late
        self.number, self.tried, self.due = 0, 0, 0


class Exchange:
    """`send(address, number, ask)`. `dropped` counts what could not even wait."""

    def __init__(self, settings: Settings, dice: Dice, send: Callable[[Address, int, Ask], None]) -> None:
        self._settings, self._dice, self._send = settings, dice, send
        self._open: dict[int, Asked] = {}
        self._waiting: deque[Asked] = deque()
        self.dropped = 0

    def ask(
        self,
        address: Address,
        ask: Ask,
        now: Micros,
        answered: Answered,
        failed: Given = ignore,
        late: Given = ignore,
        tries: int | None = None,
    ) -> None:
        """`failed`: nobody answered; `late`: not as soon as one would think. Neither is called from in here."""
        asked = Asked(address, ask, tries or self._settings.tries, answered, failed, late)
        if len(self._open) < self._settings.window:
            self._begin(asked, now)
        elif len(self._waiting) < self._settings.queue:
            self._waiting.append(asked)
        else:
            self.dropped += 1
            asked.due = now
            self._open[self._number()] = (
                asked  # one more for the blink of an eye: its failure is told by `tick`
            )
            asked.tried = asked.tries

    def answered(self, source: Address, sender: str, answer: Answer, now: Micros) -> bool:
        """Whether it was asked for."""
        asked = self._open.get(answer.number)
        if asked is None or asked.address != source:
            return False
        del self._open[answer.number]
        asked.answered(sender, answer)
        self._go_on(now)
        return True

    def tick(self, now: Micros) -> None:
        for number, asked in tuple(self._open.items()):
            if asked.due > now or number not in self._open:
                continue
            if asked.tried < asked.tries:
                self._try(asked, now)
                if asked.tried == 2:
                    asked.late()
            else:
                del self._open[number]
                asked.failed()
        self._go_on(now)

    def deadline(self) -> Micros | None:
        return min((asked.due for asked in self._open.values()), default=None)

    def _begin(self, asked: Asked, now: Micros) -> None:
        asked.number = self._number()
        self._open[asked.number] = asked
        self._try(asked, now)

    def _try(self, asked: Asked, now: Micros) -> None:
        asked.due = now + (self._settings.timeout << asked.tried)
        asked.tried += 1
        self._send(asked.address, asked.number, asked.ask)

    def _go_on(self, now: Micros) -> None:
        while self._waiting and len(self._open) < self._settings.window:
            self._begin(self._waiting.popleft(), now)

    def _number(self) -> int:
        while (number := self._dice.randrange(2**62)) in self._open:
            pass
        return number

    def check(self) -> None:
        assert len(self._waiting) <= self._settings.queue
