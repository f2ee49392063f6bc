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

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hivemind.protocols.autobee import wire
from hivemind.protocols.autobee.attesting import GRAIN, Attested, Certified, marks
from hivemind.protocols.autobee.core import Core
from hivemind.protocols.autobee.delivery import Delivery
from hivemind.protocols.autobee.entry import Ack, Entry, Head, read
from hivemind.protocols.autobee.exchange import Exchange
from hivemind.protocols.autobee.intake import Intake
from hivemind.protocols.autobee.log import cost, fold
from hivemind.protocols.autobee.mending import Mending
from hivemind.protocols.autobee.order import Tally
from hivemind.protocols.autobee.own import OwnLog
from hivemind.protocols.autobee.steps import (
    Admit,
    Certify,
    Cleared,
    Drop,
    Enter,
    Flush,
    Linked,
    Restored,
    Settings,
    Stored,
    Write,
)
from hivemind.protocols.autobee.tree import Peaks
from hivemind.protocols.autobee.wire import Accuse, Acked, Chunk, Hello, Living, Mend, Summary, Want
from hivemind.protocols.autobee.writer_log import WriterLog, bodies_of
from hivemind.protocols.machine import Micros, Received, Signer, Tick, Verifier


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
        core = self._core = Core(hive, signer, verify, wall, settings or Settings(), outsiders)
        self.node, self.order, self.counters = core.node, core.order, core.counters
        self._mine = OwnLog(core)
        self._mending = Mending(core, self._mine)
        self._delivery = Delivery(core, self._mending)
        self._exchange = Exchange(core, self._mine, self._mending)
        self._intake = Intake(core, self._mine, self._delivery, self._mending)
        self._floors: dict[str, Certified] | None = None
        """What was certified of each log, once anything is."""
        self._restore(list(restored))

    # -- the machine -----------------------------------------------------------------------------------------

    def handle(self, event: Any, now: Micros) -> list[Any]:
        core = self._core
        core.now, core.effects = now, []
        match event:
            case Write():
                self._mine.write(event.batch, event.time)
            case Received():
                self._received(event.sender, event.message)
            case Tick():
                self._tick()
            case Flush():
                self._mine.sign()
            case Stored():
                self._mine.stored()
            case Linked():
                self._exchange.linked(event.peer, event.up)
            case Admit():
                self._admit(event.writers)
            case Certify():
                self._certify(event.logs)
            case Enter():
                self._enter(event.hive)
            case Cleared():
                if log := core.logs.get(event.writer):
                    log.size = event.size
            case _:
                raise TypeError(f"not an event of the shared store: {event!r}")
        return core.effects

    def deadline(self) -> Micros | None:
        times = (self._mine.due, self._exchange.due)
        return min((time for time in times if time is not None), default=None)

    def check(self) -> None:
        for writer, log in self._core.logs.items():
            living = [e.sequence for e in self.order.newest(writer) if e.value is not None]
            tally = self.order.tally(writer)
            assert tally.count == len(living), f"{writer} has {len(living)} living entries, not {tally.count}"
            assert tally.digest() == Tally(living).digest()
            last = log.length + (self._mine.unsigned if log is self._core.own else 0)
            assert all(sequence <= last for sequence in living), f"{writer} shows what it has not"
            assert not (log.evidence and (living or log.waiting)), f"{writer} is convicted, and shown"
            assert [body.sequence for body in log.waiting] == sorted({body.sequence for body in log.waiting})

    # -- what the host asks ----------------------------------------------------------------------------------

    @property
    def writers(self) -> tuple[str, ...]:
        return tuple(sorted(self._core.logs.keys() - self._core.guests))

    @property
    def peers(self) -> tuple[str, ...]:
        """Who is connected."""
        return tuple(sorted(self._core.peers))

    @property
    def own_length(self) -> int:
        """Entries of the own log, those not yet signed, too."""
        return self._mine.length

    @property
    def unsigned(self) -> int:
        return self._mine.unsigned

    @property
    def final(self) -> int:
        """No entry with a clock up to this can come any more."""
        core = self._core
        others = (log for writer, log in core.logs.items() if writer not in core.guests and not log.evidence)
        return min([core.clock, *(log.clock for log in others if log is not core.own)])

    def convicts(self) -> dict[str, bytes]:
        """Writers that were caught, with the evidence."""
        return {writer: log.evidence for writer, log in sorted(self._core.logs.items()) if log.evidence}

    def attest(self, grain: int = GRAIN) -> tuple[Attested, ...]:
        """What this node has of all logs, as it could be certified."""
        logs = [self._core.logs[writer] for writer in self.writers]
        sound = [log for log in logs if log.head is not None and not log.evidence]
        found = [Attested(log.writer, log.fork, marks(log.peaks, grain)) for log in sound]
        return tuple(each for each in found if each.marks)

    def lag(self) -> int:
        """Entries of others that are signed, as far as was heard, and not shown."""
        return sum(log.signed - log.delivered for log in self._core.logs.values() if not log.evidence)

    def living(self, writer: str) -> int:
        """How many of its entries readers may see."""
        return self.order.tally(writer).count

    def clearable(self, writer: str, *, whole: bool = False) -> tuple[int, frozenset[int]]:
        """Up to which sequence a kept log may be cleared, and the sequences that are to stay. `whole`: also behind
        what was certified last."""
        log = self._core.logs[writer]
        upto = log.delivered if log is not self._core.own else log.length
        if self._floors is not None and not whole:
            floor = self._floors.get(writer)
            upto = min(upto, floor.length if floor is not None and floor.fork == log.fork else 0)
        return upto, frozenset(entry.sequence for entry in self.order.newest(writer))

    # -- beginning -------------------------------------------------------------------------------------------

    def _restore(self, kept: list[Restored]) -> None:
        core = self._core
        for each in kept:
            log = core.logs.setdefault(each.writer, WriterLog(each.writer))
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
            log.waiting.extend(bodies_of(each.pieces))
        core.clock = max(log.clock for log in core.logs.values())
        if not core.own.fork:
            core.own.fork = max(1, core.wall(0))
        self._delivery.deliver("")
        core.effects, core.news = [], {}
        self.order.forget(self.final)

    # -- what happens ----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        core = self._core
        due = self._mine.due
        if due is not None and core.now >= due:
            self._mine.sign()
        if not self._exchange.is_due():
            return
        self._delivery.deliver("")
        self.order.forget(self.final)
        beaten = self.order.beaten(self.node)
        if beaten:
            batch = [(key, None) for key in beaten]
            self._mine.write(batch, core.wall(core.now), withdrawn=True)
        self._mine.acknowledge()
        self._exchange.compare()

    def _received(self, sender: str, data: bytes) -> None:
        if sender not in self._core.logs and self._core.outsiders is None:
            self.counters["from strangers"] += 1
            return
        message = wire.decode(data)
        if isinstance(message, Hello | Summary | Want | Mend | Living) and not self._exchange.has_time(
            sender
        ):
            self.counters["too many questions"] += 1
            return
        match message:
            case Hello():
                self._exchange.hello(sender, message)
            case Summary():
                self._exchange.summary(sender, message)
            case Chunk():
                self._intake.chunk(sender, message)
            case Want():
                self._exchange.want(sender, message)
            case Acked():
                self._mending.ack(sender, message.ack)
            case Mend():
                self._mending.mend(sender, message)
            case Living():
                self._mending.living(sender, message)
            case Accuse():
                self._intake.accused(message.evidence)
            case None:
                self.counters["unreadable"] += 1

    # -- the hive --------------------------------------------------------------------------------------------

    def _admit(self, writers: Sequence[str]) -> None:
        core = self._core
        if not writers:
            raise ValueError("the last writer cannot be removed")
        admitted = {*writers, self.node}
        for writer in sorted(core.logs.keys() - admitted):
            del core.logs[writer]
            core.guests.discard(writer)
            core.news.pop(writer, None)
            if self._floors is not None:
                self._floors.pop(writer, None)
            core.show(self.order.apply((), list(self.order.newest(writer))))
            core.effects.append(Drop(writer))
        added = admitted - (core.logs.keys() - core.guests)
        for writer in sorted(added):
            core.guests.discard(writer)
            core.logs.setdefault(writer, WriterLog(writer))
        if added:
            for peer in sorted(core.peers):
                if peer in core.logs:
                    self._exchange.greet(peer, answer=False)
        self._delivery.deliver("")

    def _enter(self, hive: str) -> None:
        """What others signed for the old hive does not count in the new one; the own log begins anew there."""
        self._admit((self.node,))
        self._floors = None
        self._mine.enter(hive)

    def _certify(self, certified: Sequence[Certified]) -> None:
        core = self._core
        floors = self._floors = {} if self._floors is None else self._floors
        for each in certified:
            log = core.logs.get(each.writer)
            old = floors.get(each.writer)
            if log is None or (old is not None and (each.fork, each.length) <= (old.fork, old.length)):
                continue
            floors[each.writer] = each
            known = dict(log.peaks.prefixes()).get(each.length) if log.fork == each.fork else None
            if known is not None and known != each.root and log is not core.own:
                self.counters["not what was certified"] += 1
                core.show(self.order.apply((), list(self.order.newest(each.writer))))
                core.logs[each.writer] = WriterLog(each.writer)
                core.effects.append(Drop(each.writer))
