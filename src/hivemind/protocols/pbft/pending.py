"""Requests that wait to be ordered: each signer's in the order they came, signers taking turns.

Bounded in number, in bytes and for each signer, so that one who floods crowds out only himself.
"""

from __future__ import annotations

import msgspec

from hivemind.protocols.machine import Micros
from hivemind.protocols.pbft import limits
from hivemind.protocols.pbft.settings import Settings
from hivemind.protocols.pbft.wire import Request

_OVERHEAD = 64
"""Bytes that a request costs beside its body, at least."""


class Waiting(msgspec.Struct):
    request: Request
    arrived: Micros
    mine: bool
    """Submitted at this node."""
    spread: bool = False
    """All voters were told."""


class Pending:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.all: dict[str, Waiting] = {}
        """By id, the oldest first."""
        self._queues: dict[str, dict[str, Request]] = {}
        """Signer -> what is not proposed in this view, the signer whose turn it is first."""
        self._count: dict[str, int] = {}
        self.flying: dict[str, int] = {}
        """Id -> the sequence at which this view proposes it."""
        self.newest: Micros = 0
        """When the last one came."""
        self._size = 0
        self._left = self._left_size = 0
        """Requests that are left to propose, and what they cost."""

    def __len__(self) -> int:
        return len(self.all)

    @property
    def idle(self) -> bool:
        """Nothing is left to propose."""
        return not self._queues

    def refuses(self, request: Request) -> str:
        """Why it is not taken; empty: it is."""
        if not request.id or len(request.id) > limits.IDENTIFIER or len(request.client) > limits.IDENTIFIER:
            return "its id is too long"
        if len(request.body) > limits.REQUEST_SIZE:
            return "it is too large"
        if len(self.all) >= self._settings.pending_requests:
            return "too many requests are pending"
        if self._size + cost(request) > self._settings.pending_size:
            return "the pending requests are too large"
        if self._count.get(request.signer, 0) >= self._settings.pending_of_signer:
            return "too many requests of this signer are pending"
        return ""

    def add(self, request: Request, now: Micros, *, mine: bool) -> None:
        """One that is not refused, and not there."""
        self.all[request.id] = Waiting(request, now, mine)
        self.newest = now
        self._size += cost(request)
        self._count[request.signer] = self._count.get(request.signer, 0) + 1
        if request.id not in self.flying:
            self._queue(request)

    def remove(self, id: str) -> Waiting | None:
        self.flying.pop(id, None)
        waiting = self.all.pop(id, None)
        if waiting is not None:
            signer = waiting.request.signer
            self._size -= cost(waiting.request)
            self._count[signer] -= 1
            if not self._count[signer]:
                del self._count[signer]
            self._unqueue(signer, id)
        return waiting

    def fly(self, id: str, sequence: int) -> None:
        """This view proposes it at `sequence`."""
        self.flying[id] = sequence
        self._unqueue(id.partition("/")[0], id)

    def land(self) -> None:
        """A view begins: nothing is proposed yet."""
        self.flying.clear()
        self._queues.clear()
        self._left = self._left_size = 0
        for waiting in self.all.values():
            self._queue(waiting.request)

    def take(self, most: int, size: int) -> tuple[Request, ...]:
        """The next batch; they stay pending. One that is larger than `size` goes alone."""
        taken: list[Request] = []
        total = 0
        while self._queues and len(taken) < most:
            signer, queue = next(iter(self._queues.items()))
            request = next(iter(queue.values()))
            total += cost(request)
            if taken and total > size:
                break
            taken.append(request)
            self._left, self._left_size = self._left - 1, self._left_size - cost(request)
            del self._queues[signer], queue[request.id]
            if queue:
                self._queues[signer] = queue
        return tuple(taken)

    def fills(self, most: int, size: int) -> bool:
        """What is left to propose is a whole batch."""
        return self._left >= most or self._left_size >= size

    def first_waiting(self) -> Micros | None:
        """Since when something is not proposed."""
        heads = (next(iter(queue)) for queue in self._queues.values())
        return min((self.all[id].arrived for id in heads), default=None)

    def queued(self) -> list[str]:
        """Ids of what is not proposed in this view."""
        return [id for queue in self._queues.values() for id in queue]

    def _queue(self, request: Request) -> None:
        self._queues.setdefault(request.signer, {})[request.id] = request
        self._left, self._left_size = self._left + 1, self._left_size + cost(request)

    def _unqueue(self, signer: str, id: str) -> None:
        queue = self._queues.get(signer)
        request = queue.pop(id, None) if queue is not None else None
        if request is None:
            return
        self._left, self._left_size = self._left - 1, self._left_size - cost(request)
        if not queue:
            del self._queues[signer]


def cost(request: Request) -> int:
    return len(request.body) + len(request.id) + len(request.client) + _OVERHEAD
