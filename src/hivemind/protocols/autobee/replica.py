"""The machine of the shared store: one node's copy of all writers' logs, and the view over them.

A node's own writes show at once, are signed in groups, and are pushed to the others as soon as they are durable.
What a node missed it asks for: when a connection begins, and once a second by comparing summaries, it learns who
has more of a log than it has. A batch is delivered to the view once everything that its writer had seen is there.

Trust. A log counts by its writer's signature alone, whoever passes it on. A writer whose signed heads contradict
each other is convicted by its own words: what it wrote is not shown any more, and nothing else is taken from it.
Whoever passes a log on may leave entries out (cleared entries are nodes of the tree, as those that superseded them
need them no more), so each writer signs what of its log lives (`entry.Ack`); who finds that it has something else
mends that with the writer in one round trip.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hivemind.protocols.autobee import wire
from hivemind.protocols.autobee.attesting import GRAIN, Attested, Certified, marks
from hivemind.protocols.autobee.entry import (
    Ack,
    Body,
    Entry,
    Head,
    Notary,
    Seen,
    decode_body,
    encode_body,
    entry_of,
    read,
)
from hivemind.protocols.autobee.evidence import Fork, convicted, encode_evidence
from hivemind.protocols.autobee.log import BODY, Piece, cleared, cost, fold, split
from hivemind.protocols.autobee.order import Order, Tally
from hivemind.protocols.autobee.steps import (
    Admit,
    Certify,
    Changed,
    Cleared,
    Convict,
    Drop,
    Enter,
    Exposed,
    Flush,
    Linked,
    Note,
    Refine,
    Restored,
    Serve,
    Settings,
    Store,
    Stored,
    Write,
)
from hivemind.protocols.autobee.tree import Peaks
from hivemind.protocols.autobee.wire import Accuse, Acked, Chunk, Hello, Living, Mark, Mend, Summary, Want
from hivemind.protocols.autobee.writer_log import WriterLog
from hivemind.protocols.machine import SECOND, Micros, Received, Send, Signer, Tick, Verifier
from hivemind.security.statement import Statement

_PACE = 4
"""Nodes that a summary goes to each time."""
_QUESTIONS = 200.0


class Replica:
    """`wall(now)`: milliseconds since 1970. `restored`: what was kept, the own log first of all checked by the
    host. `outsiders`: judges entries of writers that were not admitted, which prove themselves; None: they do not
    count."""

    def __init__(
        self,
        *,
        hive: str,
        signer: Signer,
        verify: Verifier,
        wall: Callable[[Micros], int],
        settings: Settings | None = None,
        restored: Iterable[Restored] = (),
        outsiders: Callable[[Entry], bool] | None = None,
    ) -> None:
        self.node, self.order = signer.public, Order()
        self.counters: Counter[str] = Counter()
        """What was refused, by why."""
        self._signer, self._wall, self._settings = signer, wall, settings or Settings()
        self._notary, self._verify, self._outsiders = Notary(hive, verify), verify, outsiders
        self._own = WriterLog(self.node)
        self._logs: dict[str, WriterLog] = {self.node: self._own}
        self._guests: set[str] = set()
        self._peers: set[str] = set()
        self._clock = 0
        self._pending: list[Body] = []
        self._unstored = 0
        self._due: Micros | None = None
        self._signed: Micros = -self._settings.delay
        self._next_repair: Micros = 0
        self._next_ack: Micros = 0
        self._acked: tuple[int, int] = (0, 0)
        self._turn = 0
        self._patience: dict[str, tuple[float, Micros]] = {}
        self._news: dict[str, None] = {}
        self._floors: dict[str, Certified] | None = None
        """What was certified of each log, once anything is."""
        self._effects: list[Any] = []
        self._told: dict[str, Entry] = {}
        self._now: Micros = 0
        self._exposed = False
        self._restore(list(restored))

    # -- the machine -----------------------------------------------------------------------------------------

    def handle(self, event: Any, now: Micros) -> list[Any]:
        self._now, self._effects = now, []
        match event:
            case Write():
                self._write(event.batch, event.time)
            case Received():
                self._received(event.sender, event.message)
            case Tick():
                self._tick()
            case Flush():
                self._sign()
            case Stored():
                self._unstored -= 1
                self._schedule()
            case Linked():
                self._linked(event.peer, event.up)
            case Admit():
                self._admit(event.writers)
            case Certify():
                self._certify(event.logs)
            case Enter():
                self._enter(event.hive)
            case Cleared():
                if log := self._logs.get(event.writer):
                    log.size = event.size
            case _:
                raise TypeError(f"not an event of the shared store: {event!r}")
        return self._effects

    def deadline(self) -> Micros | None:
        times = [self._due] if self._due is not None and not self._unstored else []
        if self._peers:
            times.append(self._next_repair)
        return min(times, default=None)

    def check(self) -> None:
        for writer, log in self._logs.items():
            living = [e.sequence for e in self.order.newest(writer) if e.value is not None]
            tally = self.order.tally(writer)
            assert tally.count == len(living), f"{writer} has {len(living)} living entries, not {tally.count}"
            assert tally.digest() == Tally(living).digest()
            last = log.length + (len(self._pending) if log is self._own else 0)
            assert all(sequence <= last for sequence in living), f"{writer} shows what it has not"
            assert not (log.evidence and (living or log.waiting)), f"{writer} is convicted, and shown"
            assert [body.sequence for body in log.waiting] == sorted({body.sequence for body in log.waiting})

    # -- what the host asks ----------------------------------------------------------------------------------

    @property
    def writers(self) -> tuple[str, ...]:
        return tuple(sorted(self._logs.keys() - self._guests))

    @property
    def peers(self) -> tuple[str, ...]:
        """Who is connected."""
        return tuple(sorted(self._peers))

    @property
    def own_length(self) -> int:
        """Entries of the own log, those not yet signed, too."""
        return self._own.length + len(self._pending)

    @property
    def unsigned(self) -> int:
        return len(self._pending)

    @property
    def final(self) -> int:
        """No entry with a clock up to this can come any more."""
        others = (
            log for writer, log in self._logs.items() if writer not in self._guests and not log.evidence
        )
        return min([self._clock, *(log.clock for log in others if log is not self._own)])

    def convicts(self) -> dict[str, bytes]:
        """Writers that were caught, with the evidence."""
        return {writer: log.evidence for writer, log in sorted(self._logs.items()) if log.evidence}

    def attest(self, grain: int = GRAIN) -> tuple[Attested, ...]:
        """What this node has of all logs, as it could be certified."""
        logs = [self._logs[writer] for writer in self.writers]
        sound = [log for log in logs if log.head is not None and not log.evidence]
        found = [Attested(log.writer, log.fork, marks(log.peaks, grain)) for log in sound]
        return tuple(each for each in found if each.marks)

    def lag(self) -> int:
        """Entries of others that are signed, as far as was heard, and not shown."""
        return sum(log.signed - log.delivered for log in self._logs.values() if not log.evidence)

    def living(self, writer: str) -> int:
        """How many of its entries readers may see."""
        return self.order.tally(writer).count

    def clearable(self, writer: str, *, whole: bool = False) -> tuple[int, frozenset[int]]:
        """Up to which sequence a kept log may be cleared, and the sequences that are to stay. `whole`: also behind
        what was certified last."""
        log = self._logs[writer]
        upto = log.delivered if log is not self._own else log.length
        if self._floors is not None and not whole:
            floor = self._floors.get(writer)
            upto = min(upto, floor.length if floor is not None and floor.fork == log.fork else 0)
        return upto, frozenset(entry.sequence for entry in self.order.newest(writer))

    # -- beginning -------------------------------------------------------------------------------------------

    def _restore(self, kept: list[Restored]) -> None:
        for each in kept:
            log = self._logs.setdefault(each.writer, WriterLog(each.writer))
            log.evidence = each.evidence
            if each.ack is not None and isinstance(ack := read(each.ack), Ack):
                log.ack, log.clock = each.ack, ack.clock
            said = read(each.head) if each.head is not None else None
            if not isinstance(said, Head) or each.evidence:
                continue
            peaks = Peaks()
            fold(peaks, each.pieces)
            log.peaks = peaks
            assert each.head is not None
            log.took(each.head, each.behind, said)
            log.size = cost(each.pieces)
            log.waiting.extend(_bodies(each.pieces))
        self._clock = max(log.clock for log in self._logs.values())
        if not self._own.fork:
            self._own.fork = max(1, self._wall(0))
        self._deliver("")
        self._effects, self._news = [], {}
        self.order.forget(self.final)

    # -- own entries -----------------------------------------------------------------------------------------

    def _write(self, batch: Sequence[tuple[str, bytes | None]], time: int, withdrawn: bool = False) -> None:
        if not withdrawn:
            batch = [(key, value) for key, value in batch if value is not None or self.order.view.get(key)]
        if not batch:
            return
        self._clock += 1
        news = [self._logs[writer] for writer in sorted(self._news) if writer in self._logs]
        self._news = {}
        seen = tuple(Seen(bytes.fromhex(log.writer), log.fork, log.delivered) for log in news)
        entries = []
        for index, (key, value) in enumerate(batch):
            body = Body(
                self.own_length + 1, self._clock, key, value, time, len(batch) - 1 - index, seen, withdrawn
            )
            seen = ()
            self._pending.append(body)
            entries.append(entry_of(body, self.node))
        self._own.clock = self._clock
        self._show(self.order.apply(entries))
        if len(self._pending) > self._settings.backlog and self._unstored:
            self._shorten()
        self._schedule()

    def _schedule(self) -> None:
        if self._pending and self._due is None:
            self._due = max(self._now, self._signed + self._settings.delay)

    def _shorten(self) -> None:
        """Only the newest entry of each key is kept, under new numbers: nobody has been sent them."""
        newest = {body.key: body for body in self._pending}
        if len(newest) == len(self._pending):
            return
        gone = [e for e in self.order.newest(self.node) if e.sequence > self._own.length]
        seen = tuple(each for body in self._pending for each in body.seen)
        kept = sorted(newest.values(), key=lambda body: body.sequence)
        self._pending = []
        for body in kept:
            self._pending.append(
                Body(
                    self.own_length + 1, body.clock, body.key, body.value, body.time, 0, seen, body.withdrawn
                )
            )
            seen = ()
        self.order.apply([entry_of(body, self.node) for body in self._pending], gone)

    def _sign(self) -> None:
        if not self._pending or self._unstored:
            return
        self._due, self._signed = None, self._now
        log, bodies, self._pending = self._own, self._pending, []
        pieces = tuple(Piece(body.sequence - 1, BODY, encode_body(body)) for body in bodies)
        fold(log.peaks, pieces)
        if len(self._logs) == 1:
            self.order.forget(self._clock)
        head = self._head()
        self._effects.append(Store(self.node, pieces, head))
        self._unstored += 1
        log.size += cost(pieces)
        if cost(pieces) <= wire.CHUNK:
            self._push(Chunk(head, pieces), self._targets())
        else:
            self._greet_all()

    def _head(self) -> Statement:
        log = self._own
        said = Head(log.fork, log.length, log.peaks.root())
        head = self._notary.sign(self._signer, said)
        log.took(head, (), said)
        return head

    def _refork(self, fork: int) -> None:
        """A new log of one's own under a higher number, of what lives."""
        gone = list(self.order.newest(self.node))
        living = sorted(gone, key=lambda entry: entry.sequence)
        self._pending, self._due = [], None
        log = self._own
        log.fork, log.peaks, log.roots = fork, Peaks(), {}
        bodies = [
            Body(number, entry.clock, entry.key, entry.value, entry.time, 0, (), entry.withdrawn)
            for number, entry in enumerate(living, 1)
        ]
        if not bodies:  # a log that nobody sees would leave the old one standing
            bodies = [Body(1, max(1, self._clock), "-", None, self._wall(self._now), withdrawn=True)]
        self.order.apply([entry_of(body, self.node) for body in bodies], gone)
        pieces = tuple(Piece(body.sequence - 1, BODY, encode_body(body)) for body in bodies)
        fold(log.peaks, pieces)
        log.size = cost(pieces)
        self._effects.append(Store(self.node, pieces, self._head(), whole=True))
        self._unstored += 1
        self._greet_all()

    # -- time ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._due is not None and self._now >= self._due:
            self._sign()
        if self._now < self._next_repair:
            return
        self._next_repair = self._now + self._settings.repair
        self._deliver("")
        self.order.forget(self.final)
        beaten = self.order.beaten(self.node)
        if beaten:
            self._write([(key, None) for key in beaten], self._wall(self._now), withdrawn=True)
        self._acknowledge()
        peers = self._everyone()
        for log in self._logs.values() if peers else ():
            self._settle(log, peers[self._turn % len(peers)])
        for step in range(min(_PACE, len(peers))):
            self._send(peers[(self._turn + step) % len(peers)], Summary(self._summary()))
        self._turn += _PACE

    def _acknowledge(self, to: str = "") -> None:
        """A promise to all; or to one, who asks for it."""
        if self._pending or self._unstored:
            return
        fresh = (self._own.length, self._clock) != self._acked
        if fresh and (to or self._now >= self._next_ack):
            crowds = max(1, len(self._peers) // self._settings.fan_out)
            self._next_ack = self._now + self._settings.promise * crowds
            self._acked = (self._own.length, self._clock)
            tally = self.order.tally(self.node)
            said = Ack(self._own.fork, self._own.length, self._clock, tally.count, tally.digest())
            self._own.ack = self._notary.sign(self._signer, said)
            self._effects.append(Note(self.node, self._own.ack))
            to = ""
            for peer in self._targets():
                self._send(peer, Acked(self._own.ack))
        if to and self._own.ack is not None:
            self._send(to, Acked(self._own.ack))

    # -- the others ------------------------------------------------------------------------------------------

    def _everyone(self) -> list[str]:
        return [peer for peer in sorted(self._peers) if peer in self._logs]

    def _targets(self) -> list[str]:
        """Everyone; or of very many those that stand 1, 2, 4, … places behind in the circle of all, who pass it on."""
        peers = self._everyone()
        if len(peers) <= self._settings.fan_out:
            return peers
        circle = sorted({*peers, self.node})
        at, found, step = circle.index(self.node), [], 1
        while step < len(circle):
            found.append(circle[(at + step) % len(circle)])
            step *= 2
        return found

    def _send(self, to: str, message: wire.Message) -> None:
        self._effects.append(Send(to, wire.encode(message)))

    def _push(self, message: wire.Message, to: Iterable[str]) -> None:
        encoded = wire.encode(message)
        self._effects += [Send(peer, encoded) for peer in to]

    def _linked(self, peer: str, up: bool) -> None:
        if not up:
            self._peers.discard(peer)
            self._patience.pop(peer, None)
            return
        if not self._peers:
            self._next_repair = self._now + self._settings.repair
        self._peers.add(peer)
        if peer in self._logs or self._outsiders is not None:
            self._greet(peer)

    def _greet(self, peer: str, *, answer: bool = True) -> None:
        self._send(peer, Hello(self._marks(), answer))
        self._acknowledge(peer)
        for writer, log in sorted(self._logs.items()):
            if log.evidence:
                self._send(peer, Accuse(log.evidence))
            elif log.ack is not None and writer not in (self.node, peer):
                self._send(peer, Acked(log.ack))

    def _greet_all(self) -> None:
        self._push(Hello(self._marks(), True), self._everyone())

    def _marks(self) -> tuple[Mark, ...]:
        known = sorted(self._logs.items())
        return tuple(
            Mark(bytes.fromhex(writer), log.fork, log.length, log.peaks.root()[:8])
            for writer, log in known
            if log.length and not log.evidence
        )

    def _summary(self) -> bytes:
        marks = b"".join(
            mark.writer + mark.fork.to_bytes(8, "big") + mark.length.to_bytes(8, "big") + mark.root
            for mark in self._marks()
        )
        acks = b"".join(log.ack.signature for _, log in sorted(self._logs.items()) if log.ack is not None)
        return hashlib.blake2b(marks + acks, digest_size=16).digest()

    def _received(self, sender: str, data: bytes) -> None:
        if sender not in self._logs and self._outsiders is None:
            self.counters["from strangers"] += 1
            return
        message = wire.decode(data)
        if isinstance(message, Hello | Summary | Want | Mend | Living) and not self._has_time(sender):
            self.counters["too many questions"] += 1
            return
        match message:
            case Hello():
                self._hello(sender, message)
            case Summary():
                if message.digest != self._summary():
                    self._send(sender, Hello(self._marks()))
            case Chunk():
                self._chunk(sender, message)
            case Want():
                self._want(sender, message)
            case Acked():
                self._ack(sender, message.ack)
            case Mend():
                self._mend(sender, message)
            case Living():
                self._living(message)
            case Accuse():
                self._accused(message.evidence)
            case None:
                self.counters["unreadable"] += 1

    def _has_time(self, sender: str) -> bool:
        """Questions cost more to answer than to ask, so each node has so many a second."""
        left, since = self._patience.get(sender, (_QUESTIONS, self._now))
        left = min(_QUESTIONS, left + (self._now - since) * _QUESTIONS / SECOND)
        self._patience[sender] = (max(0.0, left - 1), self._now)
        return left >= 1

    def _hello(self, sender: str, hello: Hello) -> None:
        for mark in hello.marks[: len(self._logs) + 1024]:
            writer = mark.writer.hex()
            if writer == self.node:
                if (mark.fork, mark.length) > (self._own.fork, self._own.length):
                    self._ask(sender, self._own, mark.fork)
                continue
            log = self._log(writer)
            if log is None:
                continue
            theirs, ours = (mark.fork, mark.length), (log.fork, log.length)
            if theirs > ours:
                self._ask(sender, log, mark.fork)
            elif theirs == ours and mark.root != log.peaks.root()[:8]:
                self._send(sender, Want(mark.writer, log.fork, log.length, proof=True))
        if not hello.answer:
            self._greet(sender)

    def _log(self, writer: str) -> WriterLog | None:
        """None: that writer does not count."""
        log = self._logs.get(writer)
        if log is None and self._outsiders is not None and len(self._guests) < 64 and len(writer) == 64:
            log = self._logs[writer] = WriterLog(writer)
            self._guests.add(writer)
        return None if log is None or log.evidence else log

    def _ask(self, peer: str, log: WriterLog, fork: int, *, again: bool = False) -> None:
        if not again and log.asked is not None and self._now < log.asked + self._settings.patience:
            return
        log.asked = self._now
        start = log.length if log is not self._own else 0
        if log.coming is not None and log.coming[2] == fork:
            start = log.coming[0].length
        elif fork > log.fork:
            start = 0
        self._send(peer, Want(bytes.fromhex(log.writer), fork, start))

    def _want(self, sender: str, want: Want) -> None:
        log = self._logs.get(want.writer.hex())
        if log is not None and log.fork == want.fork and log.head is not None and want.start <= log.length:
            self._effects.append(Serve(sender, log.writer, want.start, want.proof))

    # -- chunks ----------------------------------------------------------------------------------------------

    def _chunk(self, sender: str, chunk: Chunk) -> None:
        said, writer = read(chunk.head), chunk.head.signer
        if writer == self.node:
            self._remembered(chunk.head, said)
            return
        log = self._log(writer)
        if not isinstance(said, Head) or log is None or said.fork < log.fork or said.fork <= 0:
            return
        if not log.affords(cost(chunk.pieces), self._settings, self._now):
            self.counters["too much at once"] += 1
            return
        if chunk.before:
            self._compare(log, chunk, said)
        elif log.missing and said.fork == log.fork and chunk.pieces and chunk.pieces[0].start == 0:
            self._refine(log, chunk, said)
        elif chunk.pieces:
            self._continue(sender, log, chunk, said)

    def _remembered(self, head: Statement, said: Any) -> None:
        """Others have more of one's own log than oneself: it was lost here, so a new one begins."""
        if not isinstance(said, Head) or (said.fork, said.length) <= (self._own.fork, self._own.length):
            return
        if self._notary.genuine(head):
            self.counters["own log lost"] += 1
            self._refork(max(said.fork + 1, self._wall(self._now)))

    def _continue(self, sender: str, log: WriterLog, chunk: Chunk, said: Head) -> None:
        start, end = chunk.pieces[0].start, chunk.pieces[-1].end
        if said.fork == log.fork and end <= log.length:
            self._same_place(log, chunk, said)
        elif said.fork == log.fork and start == log.length:
            self._extend(sender, log, chunk, said)
        elif start == 0 or (log.coming is not None and log.coming[2] == said.fork):
            self._replace(sender, log, chunk, said)
        else:
            self._ask(sender, log, said.fork)

    def _same_place(self, log: WriterLog, chunk: Chunk, said: Head) -> None:
        """Nothing new; unless it contradicts what the writer had said."""
        known = log.roots.get(said.length)
        other = read(known) if known is not None else None
        if known is not None and isinstance(other, Head) and other.root != said.root:
            self._accused(encode_evidence(Fork(known, chunk.head)))

    def _extend(self, sender: str, log: WriterLog, chunk: Chunk, said: Head) -> None:
        peaks = log.peaks.copy()
        if not self._folds(peaks, chunk, said) or not self._genuine(log, chunk.head):
            return
        whole = peaks.copy()
        fold(whole, chunk.behind)
        if whole.root() != said.root:
            self.counters["does not continue"] += 1
            if log.head is not None:
                known = read(log.head)
                at = known.length if isinstance(known, Head) else 0
                self._send(sender, Want(bytes.fromhex(log.writer), said.fork, at, proof=True))
            return
        log.peaks = peaks
        log.took(chunk.head, chunk.behind, said)
        log.size += cost(chunk.pieces)
        log.coming, log.asked = None, None
        log.waiting.extend(_bodies(chunk.pieces))
        self._effects.append(Store(log.writer, chunk.pieces, chunk.head, chunk.behind))
        if chunk.behind:
            self._ask(sender, log, log.fork, again=True)
        else:
            self._pass_on(log, chunk, sender)
        self._deliver(sender)

    def _pass_on(self, log: WriterLog, chunk: Chunk, sender: str) -> None:
        """News that came in one piece, where not everyone is told by their writer."""
        if len(self._peers) > self._settings.fan_out and cost(chunk.pieces) <= wire.CHUNK:
            self._push(chunk, (peer for peer in self._targets() if peer not in (sender, log.writer)))

    def _folds(self, peaks: Peaks, chunk: Chunk, said: Head) -> bool:
        """Whether the chunk continues `peaks`, which are changed, up to the length that was signed."""
        if not fold(peaks, chunk.pieces):
            self.counters["malformed"] += 1
            return False
        whole = peaks.copy()
        sound = fold(whole, chunk.behind) and whole.length == said.length
        sound = sound and all(piece.level != BODY for piece in chunk.behind)
        if not sound:
            self.counters["malformed"] += 1
        return sound

    def _genuine(self, log: WriterLog, head: Statement) -> bool:
        if head == log.head:
            return True
        if self._notary.genuine(head):
            return True
        self.counters["badly signed"] += 1
        return False

    def _replace(self, sender: str, log: WriterLog, chunk: Chunk, said: Head) -> None:
        """A log from its beginning on: of a higher fork, or cleared so that it does not continue what is here."""
        if chunk.pieces[0].start == 0:
            log.coming = (Peaks(), [], said.fork)
        assert log.coming is not None
        peaks, pieces, _ = log.coming
        peaks = peaks.copy()
        if not self._folds(peaks, chunk, said) or not self._genuine(log, chunk.head):
            return
        whole = peaks.copy()
        fold(whole, chunk.behind)
        if whole.root() != said.root:
            log.coming = None
            return
        log.coming = (peaks, [*pieces, *chunk.pieces], said.fork)
        log.asked = None
        if chunk.behind:
            self._ask(sender, log, said.fork, again=True)
            return
        self._swap(sender, log, chunk.head, said)
        if chunk.pieces[0].start == 0:
            self._pass_on(log, chunk, sender)

    def _swap(self, sender: str, log: WriterLog, head: Statement, said: Head) -> None:
        """What had been delivered is replaced at once, so that nobody sees it gone; the rest waits for its causes."""
        assert log.coming is not None
        peaks, pieces, _ = log.coming
        if said.fork == log.fork and self._contradicts(log, head, pieces):
            return
        anew = said.fork > log.fork
        gone = list(self.order.newest(log.writer)) if anew else []
        delivered = (peaks.length if log.length else 0) if anew else log.delivered
        if anew:
            log.roots, log.ack, log.clock = {}, None, 0
        log.coming, log.peaks, log.size = None, peaks, cost(pieces)
        log.took(head, (), said)
        self._effects.append(Store(log.writer, tuple(pieces), head, whole=True))
        bodies = _bodies(pieces)
        held = next(
            (at for at, b in enumerate(bodies) if b.sequence > delivered or not self._plausible(b)),
            len(bodies),
        )
        log.waiting = deque(bodies[held:])
        self._show(self.order.apply(self._taken(log, bodies[:held]), gone))
        self._deliver(sender)
        self._settle(log, sender)

    def _contradicts(self, log: WriterLog, head: Statement, pieces: Sequence[Piece]) -> bool:
        """Whether a log that replaces what we have of it is another one: then its writer is convicted."""
        known = read(log.head) if log.head is not None else None
        parted = split(pieces, known.length) if isinstance(known, Head) else None
        if parted is None or log.head is None or not isinstance(known, Head):
            return False
        before, behind = (tuple(cleared(part, lambda _: False)) for part in parted)
        peaks = Peaks()
        fold(peaks, before)
        if peaks.root() == known.root:
            return False
        log.coming = None
        self._accused(encode_evidence(Fork(log.head, head, before, behind)))
        return True

    def _compare(self, log: WriterLog, chunk: Chunk, said: Head) -> None:
        """A log as nodes only, parted where the head that we have ends: it proves a fork, or nothing."""
        if log.head is not None and said.fork == log.fork:
            self._accused(encode_evidence(Fork(log.head, chunk.head, chunk.before, chunk.behind)))

    # -- delivering ------------------------------------------------------------------------------------------

    def _deliver(self, sender: str) -> None:
        """Batches whose causes are here go to the view, until none is left that can."""
        arrived: list[Entry] = []
        touched: set[str] = {sender} if sender in self._logs else set()
        progress = True
        while progress:
            progress = False
            for writer in sorted(writer for writer, log in self._logs.items() if log.waiting):
                while batch := self._ready(self._logs[writer], sender):
                    arrived += self._taken(self._logs[writer], batch)
                    touched.add(writer)
                    progress = True
        self._show(self.order.apply(arrived))
        for writer in sorted(touched):
            self._settle(self._logs[writer], sender)

    def _ready(self, log: WriterLog, sender: str) -> list[Body]:
        """The next batch, taken out of what waits; nothing when it must go on waiting."""
        batch: list[Body] = []
        for body in log.waiting:
            if batch and (not batch[-1].more or body.sequence != batch[-1].sequence + 1):
                break
            batch.append(body)
        if not batch or (batch[-1].more and batch[-1].sequence == log.length):
            return []
        if log is not self._own and not self._caused(log, batch, sender):
            return []
        for _ in batch:
            log.waiting.popleft()
        return batch

    def _caused(self, log: WriterLog, batch: Sequence[Body], sender: str) -> bool:
        """Whether all that the writer had seen is here; what was said by those who do not count any more is not
        waited for."""
        if not all(self._plausible(body) for body in batch):
            return False
        for seen in batch[0].seen:
            other = self._logs.get(seen.writer.hex())
            if other is None or other.evidence or other.fork > seen.fork:
                continue
            if other.fork < seen.fork or other.delivered < seen.length:
                if sender and (other.fork, other.length) < (seen.fork, seen.length):
                    self._ask(sender, other, seen.fork)
                return False
        return True

    def _plausible(self, body: Body) -> bool:
        return body.clock <= self._wall(self._now) + self._settings.ahead

    def _taken(self, log: WriterLog, bodies: Sequence[Body]) -> list[Entry]:
        """The entries that these are, as far as they count; all clocks go past theirs."""
        entries = [entry_of(body, log.writer) for body in bodies]
        if log.writer in self._guests and self._outsiders is not None:
            entries = [entry for entry in entries if self._outsiders(entry)]
        log.clock = max([log.clock, *(body.clock for body in bodies)])
        self._clock = max(self._clock, log.clock)
        if log is not self._own:
            self._news[log.writer] = None
        return entries

    def _show(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._effects.append(Changed(tuple(entries)))

    # -- what lives ------------------------------------------------------------------------------------------

    def _ack(self, sender: str, statement: Statement) -> None:
        ack, log = read(statement), self._log(statement.signer)
        if not isinstance(ack, Ack) or log is None or log is self._own:
            return
        if statement == log.ack:
            self._settle(log, sender)
            return
        old = read(log.ack) if log.ack is not None else None
        if isinstance(old, Ack) and (ack.fork, ack.length, ack.clock) <= (old.fork, old.length, old.clock):
            return
        if ack.clock > self._wall(self._now) + self._settings.ahead or not self._notary.genuine(statement):
            self.counters["badly signed"] += 1
            return
        log.ack = statement
        self._effects.append(Note(log.writer, statement))
        if len(self._peers) > self._settings.fan_out:
            self._push(
                Acked(statement), (peer for peer in self._targets() if peer not in (sender, log.writer))
            )
        self._settle(log, sender)

    def _settle(self, log: WriterLog, sender: str) -> None:
        """Believes the writer's promise once its log is here, and asks it where we differ."""
        ack = read(log.ack) if log.ack is not None else None
        if not isinstance(ack, Ack) or log is self._own or log.delivered < ack.length:
            return
        if ack.fork != log.fork and ack.length:
            return
        log.clock = max(log.clock, ack.clock)
        self._clock = max(self._clock, ack.clock)
        tally = self.order.tally(log.writer)
        same = (tally.count, tally.digest()) == (ack.live, ack.digest)
        if same or log.delivered != ack.length or log.writer in self._guests:
            return
        if log.mended is not None and self._now < log.mended + self._settings.patience:
            return
        to = log.writer if log.writer in self._peers else sender
        if to:
            log.mended = self._now
            self._send(to, Mend(bytes.fromhex(log.writer), log.fork, wire.pack(self._held(log.writer))))

    def _held(self, writer: str) -> list[int]:
        return sorted(entry.sequence for entry in self.order.newest(writer) if entry.value is not None)

    def _mend(self, sender: str, mend: Mend) -> None:
        log = self._logs.get(mend.writer.hex())
        if log is None or log.fork != mend.fork or log.evidence:
            return
        if log is self._own:
            self._acknowledge(sender)
        ack = read(log.ack) if log.ack is not None else None
        tally = self.order.tally(log.writer)
        if (
            log.ack is None
            or not isinstance(ack, Ack)
            or (tally.count, tally.digest()) != (ack.live, ack.digest)
        ):
            return
        living = self._held(log.writer)
        self._send(sender, Living(log.ack, wire.pack(living)))
        lacking = sorted(set(living) - set(wire.unpack(mend.held)))
        if lacking:
            self._effects.append(Serve(sender, log.writer, sequences=tuple(lacking)))

    def _living(self, message: Living) -> None:
        ack, log = read(message.ack), self._log(message.ack.signer)
        if not isinstance(ack, Ack) or log is None or log is self._own:
            return
        if ack.fork != log.fork or log.delivered != ack.length:
            return
        sequences = wire.unpack(message.sequences)
        tally = Tally(sequences)
        if (tally.count, tally.digest()) != (ack.live, ack.digest) or len(set(sequences)) != len(sequences):
            self.counters["malformed"] += 1
            return
        if message.ack != log.ack and not self._notary.genuine(message.ack):
            self.counters["badly signed"] += 1
            return
        living = frozenset(sequences)
        held = [entry for entry in self.order.newest(log.writer) if entry.value is not None]
        log.missing = living - {entry.sequence for entry in held}
        self.counters["mended"] += 1
        self._show(self.order.apply((), [entry for entry in held if entry.sequence not in living]))

    def _refine(self, log: WriterLog, chunk: Chunk, said: Head) -> None:
        """Living entries that whoever passed the log on had left out."""
        peaks = Peaks()
        if not fold(peaks, chunk.pieces) or peaks.length != said.length or peaks.root() != said.root:
            self.counters["malformed"] += 1
            return
        if said.length > log.length or not self._genuine(log, chunk.head):
            return
        bodies = [body for body in _bodies(chunk.pieces) if body.sequence in log.missing]
        log.missing -= {body.sequence for body in bodies}
        log.mended = None
        self._effects.append(Refine(log.writer, chunk.pieces))
        self._show(self.order.apply(self._taken(log, bodies)))
        self._settle(log, "")

    # -- the hive --------------------------------------------------------------------------------------------

    def _admit(self, writers: Sequence[str]) -> None:
        if not writers:
            raise ValueError("the last writer cannot be removed")
        admitted = {*writers, self.node}
        for writer in sorted(self._logs.keys() - admitted):
            del self._logs[writer]
            self._guests.discard(writer)
            self._news.pop(writer, None)
            if self._floors is not None:
                self._floors.pop(writer, None)
            self._show(self.order.apply((), list(self.order.newest(writer))))
            self._effects.append(Drop(writer))
        added = admitted - (self._logs.keys() - self._guests)
        for writer in sorted(added):
            self._guests.discard(writer)
            self._logs.setdefault(writer, WriterLog(writer))
        if added:
            for peer in sorted(self._peers):
                if peer in self._logs:
                    self._greet(peer, answer=False)
        self._deliver("")

    def _enter(self, hive: str) -> None:
        """What others signed for the old hive does not count in the new one; the own log begins anew there."""
        self._admit((self.node,))
        self._notary, self._acked, self._own.ack = Notary(hive, self._verify), (0, 0), None
        self._floors = None
        self._refork(max(self._own.fork + 1, self._wall(self._now)))

    def _certify(self, certified: Sequence[Certified]) -> None:
        floors = self._floors = {} if self._floors is None else self._floors
        for each in certified:
            log = self._logs.get(each.writer)
            old = floors.get(each.writer)
            if log is None or (old is not None and (each.fork, each.length) <= (old.fork, old.length)):
                continue
            floors[each.writer] = each
            known = dict(log.peaks.prefixes()).get(each.length) if log.fork == each.fork else None
            if known is not None and known != each.root and log is not self._own:
                self.counters["not what was certified"] += 1
                self._show(self.order.apply((), list(self.order.newest(each.writer))))
                self._logs[each.writer] = WriterLog(each.writer)
                self._effects.append(Drop(each.writer))

    def _accused(self, evidence: bytes) -> None:
        """Convicts, tells everyone, and shows nothing of that writer any more."""
        writer = convicted(evidence, self._notary)
        log = self._logs.get(writer)
        if log is None or log.evidence:
            return
        if log is self._own:
            self._effects += [] if self._exposed else [Exposed(evidence)]
            self._exposed = True
            return
        log.evidence, log.waiting, log.coming = evidence, deque(), None
        self._effects.append(Convict(writer, evidence))
        self._push(Accuse(evidence), self._everyone())
        self._show(self.order.apply((), list(self.order.newest(writer))))
        self._deliver("")


def _bodies(pieces: Iterable[Piece]) -> list[Body]:
    """Those that say something; the others count as cleared."""
    found = (decode_body(piece.data, piece.start + 1) for piece in pieces if piece.level == BODY)
    return [body for body in found if body is not None]
