"""A node's own log: writing, signing in groups, promising, and beginning anew."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.protocols.autobee import wire
from hivemind.protocols.autobee.core import Core
from hivemind.protocols.autobee.entry import Ack, Body, Head, Notary, Seen, encode_body, entry_of
from hivemind.protocols.autobee.log import BODY, Piece, cost, fold
from hivemind.protocols.autobee.steps import Note, Store
from hivemind.protocols.autobee.tree import Peaks
from hivemind.protocols.autobee.wire import Acked, Chunk
from hivemind.protocols.machine import Micros
from hivemind.security.statement import Statement


class OwnLog:
    """Own entries show at once; they are signed in groups, and leave the node once that is durable."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._pending: list[Body] = []
        self._unstored = 0
        self._due: Micros | None = None
        self._signed: Micros = -core.settings.delay
        self._next_ack: Micros = 0
        self._acked: tuple[int, int] = (0, 0)

    @property
    def due(self) -> Micros | None:
        """When what waits for company is to be signed."""
        return self._due if not self._unstored else None

    @property
    def unsigned(self) -> int:
        return len(self._pending)

    def stored(self) -> None:
        self._unstored -= 1
        self._schedule()

    def enter(self, hive: str) -> None:
        """Everything is signed anew for that hive."""
        core = self._core
        core.notary, self._acked, core.own.ack = Notary(hive, core.verify), (0, 0), None
        self.refork(max(core.own.fork + 1, core.wall(core.now)))

    @property
    def length(self) -> int:
        """Entries of the own log, those not yet signed, too."""
        return self._core.own.length + len(self._pending)

    def write(self, batch: Sequence[tuple[str, bytes | None]], time: int, withdrawn: bool = False) -> None:
        core = self._core
        if not withdrawn:
            batch = [(key, value) for key, value in batch if value is not None or core.order.view.get(key)]
        if not batch:
            return
        core.clock += 1
        news = [core.logs[writer] for writer in sorted(core.news) if writer in core.logs]
        core.news = {}
        seen = tuple(Seen(bytes.fromhex(log.writer), log.fork, log.delivered) for log in news)
        entries = []
        for index, (key, value) in enumerate(batch):
            body = Body(
                self.length + 1, core.clock, key, value, time, len(batch) - 1 - index, seen, withdrawn
            )
            seen = ()
            self._pending.append(body)
            entries.append(entry_of(body, core.node))
        core.own.clock = core.clock
        core.show(core.order.apply(entries))
        if len(self._pending) > core.settings.backlog and self._unstored:
            self._shorten()
        self._schedule()

    def _schedule(self) -> None:
        if self._pending and self._due is None:
            self._due = max(self._core.now, self._signed + self._core.settings.delay)

    def _shorten(self) -> None:
        """Only the newest entry of each key is kept, under new numbers: nobody has been sent them."""
        core = self._core
        newest = {body.key: body for body in self._pending}
        if len(newest) == len(self._pending):
            return
        gone = [e for e in core.order.newest(core.node) if e.sequence > core.own.length]
        seen = tuple(each for body in self._pending for each in body.seen)
        kept = sorted(newest.values(), key=lambda body: body.sequence)
        self._pending = []
        for body in kept:
            self._pending.append(
                Body(self.length + 1, body.clock, body.key, body.value, body.time, 0, seen, body.withdrawn)
            )
            seen = ()
        core.order.apply([entry_of(body, core.node) for body in self._pending], gone)

    def sign(self) -> None:
        core = self._core
        if not self._pending or self._unstored:
            return
        self._due, self._signed = None, core.now
        log, bodies, self._pending = core.own, self._pending, []
        pieces = tuple(Piece(body.sequence - 1, BODY, encode_body(body)) for body in bodies)
        fold(log.peaks, pieces)
        if len(core.logs) == 1:
            core.order.forget(core.clock)
        head = self._head()
        core.effects.append(Store(core.node, pieces, head))
        self._unstored += 1
        log.size += cost(pieces)
        if cost(pieces) <= wire.CHUNK:
            core.push(Chunk(head, pieces), core.targets())
        else:
            core.greet_all()

    def _head(self) -> Statement:
        core = self._core
        log = core.own
        said = Head(log.fork, log.length, log.peaks.root())
        head = core.notary.sign(core.signer, said)
        log.took(head, (), said)
        return head

    def refork(self, fork: int) -> None:
        """A new log of one's own under a higher number, of what lives."""
        core = self._core
        gone = list(core.order.newest(core.node))
        living = sorted(gone, key=lambda entry: entry.sequence)
        self._pending, self._due = [], None
        log = core.own
        log.fork, log.peaks, log.roots = fork, Peaks(), {}
        bodies = [
            Body(number, entry.clock, entry.key, entry.value, entry.time, 0, (), entry.withdrawn)
            for number, entry in enumerate(living, 1)
        ]
        if not bodies:  # a log that nobody sees would leave the old one standing
            bodies = [Body(1, max(1, core.clock), "-", None, core.wall(core.now), withdrawn=True)]
        core.order.apply([entry_of(body, core.node) for body in bodies], gone)
        pieces = tuple(Piece(body.sequence - 1, BODY, encode_body(body)) for body in bodies)
        fold(log.peaks, pieces)
        log.size = cost(pieces)
        core.effects.append(Store(core.node, pieces, self._head(), whole=True))
        self._unstored += 1
        core.greet_all()

    def acknowledge(self, to: str = "") -> None:
        """A promise to all; or to one, who asks for it."""
        core = self._core
        if self._pending or self._unstored:
            return
        fresh = (core.own.length, core.clock) != self._acked
        if fresh and (to or core.now >= self._next_ack):
            crowds = max(1, len(core.peers) // core.settings.fan_out)
            self._next_ack = core.now + core.settings.promise * crowds
            self._acked = (core.own.length, core.clock)
            tally = core.order.tally(core.node)
            said = Ack(core.own.fork, core.own.length, core.clock, tally.count, tally.digest())
            core.own.ack = core.notary.sign(core.signer, said)
            core.effects.append(Note(core.node, core.own.ack))
            to = ""
            for peer in core.targets():
                core.send(peer, Acked(core.own.ack))
        if to and core.own.ack is not None:
            core.send(to, Acked(core.own.ack))
