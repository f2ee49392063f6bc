"""What the machine may ask at any time: the wall clock, whether a request is genuine, its result, old decisions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from hivemind.ledger.agreed import requests
from hivemind.ledger.journal import Journal
from hivemind.protocols.machine import Micros
from hivemind.protocols.pbft.events import Execute
from hivemind.protocols.pbft.wire import Decided, Request, encode

_RECENT = 256
_decoder = msgspec.msgpack.Decoder(Decided)


class JournalHost:
    """Keeps the newest decisions at hand; older ones are read from the file."""

    def __init__(self, journal: Journal, clock: Callable[[], int]) -> None:
        self._journal, self._clock = journal, clock
        self._largest = min(journal.settings.operation_size, requests.LARGEST)
        self._recent: OrderedDict[int, Decided] = OrderedDict()
        self._checked: OrderedDict[str, bytes] = OrderedDict()

    def wall(self, now: Micros) -> int:
        return self._clock()

    def vouch(self, request: Request) -> None:
        """It was checked already when it came from here."""
        self._checked[request.id] = request.body
        if len(self._checked) > _RECENT:
            self._checked.popitem(last=False)

    def valid(self, request: Request) -> bool:
        if self._checked.get(request.id) == request.body:
            return True
        return requests.valid(request, self._journal.state.hive, self._largest)

    def outcome(self, request: str) -> bytes | None:
        reply = self._journal.state.replies.get(request)
        return requests.result_of(reply.outcome) if reply else None

    def decided(self, sequence: int) -> Decided | None:
        if sequence > self._journal.state.sequence:
            return None
        found = self._recent.get(sequence)
        if found is None:
            rows = self._journal.log.read("SELECT body FROM certificate WHERE sequence = ?", sequence)
            found = _decoder.decode(rows[0][0]) if rows else None
        return found

    def note(self, execute: Execute) -> bytes:
        """The certificate to be stored."""
        decided = Decided(execute.certificate, execute.proposal)
        self._recent[execute.sequence] = decided
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return encode(decided)

    def forget(self) -> None:
        """Another state took this one's place."""
        self._recent.clear()
