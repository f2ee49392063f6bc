"""What the machine may ask at any time: the wall clock, whether a request is genuine, its result, old decisions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from hivemind.ledger.agreed import requests
from hivemind.ledger.agreed.requests import Held
from hivemind.ledger.journal import Journal
from hivemind.protocols.machine import Micros
from hivemind.protocols.pbft.events import Execute
from hivemind.protocols.pbft.wire import Decided, Request, encode

_RECENT = 256
_CHECKED, _CHECKED_SIZE = 1_024, 4 * 2**20
_decoder = msgspec.msgpack.Decoder(Decided)


class JournalHost:
    """Keeps the newest decisions at hand; older ones are read from the file."""

    def __init__(self, journal: Journal, clock: Callable[[], int]) -> None:
        self._journal, self._clock = journal, clock
        self._largest = min(journal.settings.operation_size, requests.LARGEST)
        self._recent: OrderedDict[int, Decided] = OrderedDict()
        self._checked: OrderedDict[str, tuple[bytes, Held]] = OrderedDict()
        """Requests by id, until they are executed: their bodies and what these hold."""
        self._checked_size = 0

    def wall(self, now: Micros) -> int:
        return self._clock()

    def vouch(self, request: Request, held: Held) -> None:
        """It was checked already when it came from here."""
        self._forget_checked(request.id)
        self._checked[request.id] = (request.body, held)
        self._checked_size += len(request.body)
        while len(self._checked) > _CHECKED or self._checked_size > _CHECKED_SIZE:
            self._forget_checked(next(iter(self._checked)))

    def valid(self, request: Request) -> bool:
        known = self._checked.get(request.id)
        if known is not None and known[0] == request.body:
            return True
        held = requests.valid(request, self._journal.state.hive, self._largest)
        if held is not None:
            self.vouch(request, held)
        return held is not None

    def read(self, request: Request) -> Held:
        """What a decided request holds."""
        known = self._forget_checked(request.id)
        return known[1] if known is not None and known[0] == request.body else requests.read(request)

    def _forget_checked(self, id: str) -> tuple[bytes, Held] | None:
        known = self._checked.pop(id, None)
        if known is not None:
            self._checked_size -= len(known[0])
        return known

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
