"""When a primary proposes: at once for who comes alone, and together for those who come again and again."""

from __future__ import annotations

from hivemind.protocols.machine import MILLISECOND, Micros
from hivemind.protocols.pbft.batching import Batching
from hivemind.protocols.pbft.pending import Pending
from hivemind.protocols.pbft.settings import Settings
from hivemind.protocols.pbft.wire import Request

SETTINGS = Settings(batch_delay=10 * MILLISECOND, gather_delay=20 * MILLISECOND)


class Primary:
    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.pending = Pending(settings)
        self.batching = Batching(settings, self.pending)
        self.sequence = 0

    def ask(self, milliseconds: float, *names: str) -> None:
        for name in names:
            request = Request(f"{name}/{milliseconds}", "", b"")
            self.pending.add(request, int(milliseconds * MILLISECOND), mine=True)

    def due(self, *, in_flight: bool = False) -> float | None:
        """In milliseconds."""
        due = self.batching.due(in_flight=in_flight)
        return None if due is None else due / MILLISECOND

    def propose(self, milliseconds: float) -> list[str]:
        self.sequence += 1
        taken = self.pending.take(256, 2**20)
        for request in taken:
            self.pending.fly(request.id, self.sequence)
        self.batching.proposed(self.sequence, self._at(milliseconds))
        return [request.id for request in taken]

    def execute(self, milliseconds: float, taken: list[str]) -> None:
        self.batching.executed(self.sequence, self._at(milliseconds))
        for id in taken:
            self.pending.remove(id)

    def _at(self, milliseconds: float) -> Micros:
        return int(milliseconds * MILLISECOND)


def test_who_comes_alone_never_waits() -> None:
    primary = Primary()
    for at in (100, 120, 140):
        assert primary.due() is None
        primary.ask(at, "a")
        assert primary.due() == at
        primary.execute(at + 8, primary.propose(at))


def test_those_who_asked_together_are_waited_for_and_not_longer() -> None:
    primary = Primary()
    primary.ask(100, "a", "b", "c")
    primary.execute(108, primary.propose(100))
    primary.ask(109, "a")
    assert primary.due() == 109 + 8 / 4  # a quarter of what the decision took
    primary.ask(110, "b")
    assert primary.due() == 110 + 8 / 4
    primary.ask(110.5, "c")
    assert primary.due() == 109  # all are there: at once


def test_who_has_gone_is_missed_once() -> None:
    primary = Primary()
    primary.ask(100, "a", "b", "c")
    primary.execute(108, primary.propose(100))
    primary.ask(109, "a", "b")
    primary.execute(120, primary.propose(112))
    primary.ask(121, "a", "b")
    assert primary.due() == 121


def test_two_groups_that_take_turns_become_one() -> None:
    primary = Primary()
    primary.ask(100, "a", "b")
    taken = primary.propose(100)
    primary.ask(101, "c", "d")
    assert primary.due(in_flight=True) == 101 + 10
    primary.execute(108, taken)
    assert primary.due() == 108 + 8 / 4  # c and d could go, but a and b are expected
    primary.ask(109, "a", "b")
    assert primary.due() == 101


def test_the_next_batch_waits_longer_where_decisions_take_long_but_not_for_ever() -> None:
    primary = Primary()
    primary.ask(100, "a", "b")
    primary.execute(300, primary.propose(100))
    primary.ask(301, "a", "b")
    primary.propose(301)
    primary.ask(310, "c")
    assert primary.due(in_flight=True) == 310 + 400
    primary.batching._took = 10**9
    assert primary.due(in_flight=True) == 310 + SETTINGS.request_timeout / 4 / MILLISECOND


def test_without_gathering_only_what_is_in_flight_makes_wait() -> None:
    primary = Primary(Settings(batch_delay=10 * MILLISECOND))
    primary.ask(100, "a", "b", "c")
    primary.execute(108, primary.propose(100))
    primary.ask(109, "a")
    assert (primary.due(), primary.due(in_flight=True)) == (109, 119)
