"""An iterative lookup (section 2.3 of the paper): those closest to the target are asked for closer ones, several at
once, until the k closest of all that are there have answered. Who is late does not hold it up, and who is made up by
somebody only costs a question."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from hivemind.protocols.kademlia.exchange import Answered, Given
from hivemind.protocols.kademlia.ids import Address, distance, node_id, usable
from hivemind.protocols.kademlia.wire import Answer, Ask

MAX_CANDIDATES = 400


class Node(Protocol):
    """What it needs of the machine."""

    def put(self, address: Address, ask: Ask, answered: Answered, failed: Given, late: Given) -> None: ...

    def is_self(self, address: Address) -> bool: ...

    def is_down(self, address: Address, said: Address | None) -> None:
        """`said`: who named it."""


class Replied:
    """A node that answered."""

    __slots__ = ("address", "answer", "id", "signer")

    def __init__(self, address: Address, signer: str, answer: Answer) -> None:
        self.address, self.signer, self.answer = address, signer, answer
        self.id = node_id(address)


class Candidate:
    __slots__ = ("address", "asked", "distance", "late", "over", "said")

    def __init__(self, address: Address, away: int, said: Address | None) -> None:
        self.address, self.distance, self.said = address, away, said
        self.asked = self.late = self.over = False


class Lookup:
    """`heard` is called for each answer as it comes, `done` once with the closest that answered, closest first."""

    def __init__(
        self,
        node: Node,
        ask: Ask,
        target: bytes,
        *,
        k: int,
        alpha: int,
        heard: Callable[[Replied], None],
        done: Callable[[list[Replied]], None],
    ) -> None:
        self._node, self._ask, self._target, self._k, self._alpha = node, ask, target, k, alpha
        self._heard, self._done = heard, done
        self._candidates: dict[bytes, Candidate] = {}
        self._order: list[Candidate] = []
        self._replied: list[Replied] = []
        self._under_way = 0
        self.over = False

    def begin(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            self._add(address, None)
        self._order.sort(key=lambda each: each.distance)
        self._go_on()

    def _add(self, address: Address, said: Address | None) -> None:
        id = node_id(address)
        if id in self._candidates or len(self._candidates) >= MAX_CANDIDATES or self._node.is_self(address):
            return
        candidate = self._candidates[id] = Candidate(address, distance(id, self._target), said)
        self._order.append(candidate)

    def _go_on(self) -> None:
        if self.over:
            return
        open_ones = 0
        for candidate in self._closest():
            if candidate.asked:
                open_ones += not candidate.over
            elif self._under_way < self._alpha:
                open_ones += 1
                self._put(candidate)
            else:
                open_ones += 1
        if open_ones == 0:
            self.over = True
            self._replied.sort(key=lambda each: distance(each.id, self._target))
            self._done(self._replied[: self._k])

    def _closest(self) -> list[Candidate]:
        """The k closest that have answered, or may still."""
        found = []
        for candidate in self._order:
            if not candidate.late:
                found.append(candidate)
                if len(found) == self._k:
                    break
        return found

    def _put(self, candidate: Candidate) -> None:
        candidate.asked = True
        self._under_way += 1

        def settled() -> None:
            if not candidate.over and not candidate.late:
                self._under_way -= 1

        def answered(signer: str, answer: Answer) -> None:
            settled()
            candidate.over, candidate.late = True, False
            replied = Replied(candidate.address, signer, answer)
            if not self.over:
                if answer.id:
                    self._replied.append(replied)
                for address in answer.closer:
                    if usable(address):
                        self._add(address, candidate.address)
                self._order.sort(key=lambda each: each.distance)
            self._heard(replied)
            self._go_on()

        def late() -> None:
            settled()
            candidate.late = True
            self._go_on()

        def failed() -> None:
            settled()
            candidate.late = candidate.over = True
            self._node.is_down(candidate.address, candidate.said)
            self._go_on()

        self._node.put(candidate.address, self._ask, answered, failed, late)
