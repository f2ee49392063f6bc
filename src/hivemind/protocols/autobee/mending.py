"""Which entries of a log live: each writer signs that, and whoever has something else mends it with the writer.

Whoever passes a log on may leave entries out, since cleared ones are nodes of the tree. So a writer's acknowledgement
names how many of its entries live, and a digest of which; where that differs, one round trip tells and sends what
lacks."""

from __future__ import annotations

from hivemind.protocols.autobee import wire
from hivemind.protocols.autobee.core import Core
from hivemind.protocols.autobee.entry import Ack, Head, read
from hivemind.protocols.autobee.log import cost, fold
from hivemind.protocols.autobee.order import Tally
from hivemind.protocols.autobee.own import OwnLog
from hivemind.protocols.autobee.steps import Note, Refine, Serve
from hivemind.protocols.autobee.tree import Peaks
from hivemind.protocols.autobee.wire import Acked, Chunk, Living, Mend
from hivemind.protocols.autobee.writer_log import WriterLog, bodies_of
from hivemind.security.statement import Statement

_PRICE = 48
"""Of looking at one sequence, as bytes of a log."""


class Mending:
    def __init__(self, core: Core, own: OwnLog) -> None:
        self._core, self._mine = core, own

    def ack(self, sender: str, statement: Statement) -> None:
        core = self._core
        ack, log = read(statement), core.log(statement.signer)
        if not isinstance(ack, Ack) or log is None or log is core.own:
            return
        if statement == log.ack:
            self.settle(log, sender)
            return
        old = read(log.ack) if log.ack is not None else None
        if isinstance(old, Ack) and (ack.fork, ack.length, ack.clock) <= (old.fork, old.length, old.clock):
            return
        if ack.clock > core.wall(core.now) + core.settings.ahead or not core.notary.genuine(statement):
            core.counters["badly signed"] += 1
            return
        log.ack = statement
        core.effects.append(Note(log.writer, statement))
        if len(core.peers) > core.settings.fan_out:
            core.push(Acked(statement), (peer for peer in core.targets() if peer not in (sender, log.writer)))
        self.settle(log, sender)

    def settle(self, log: WriterLog, sender: str) -> None:
        """Believes the writer's promise once its log is here, and asks it where we differ."""
        core = self._core
        ack = read(log.ack) if log.ack is not None else None
        if not isinstance(ack, Ack) or log is core.own or log.delivered < ack.length:
            return
        if ack.fork != log.fork and ack.length:
            return
        log.clock = max(log.clock, ack.clock)
        core.clock = max(core.clock, ack.clock)
        tally = core.order.tally(log.writer)
        same = (tally.count, tally.digest()) == (ack.live, ack.digest)
        if same or log.delivered != ack.length or log.writer in core.guests:
            return
        if log.mended is not None and core.now < log.mended + core.settings.patience:
            return
        to = log.writer if log.writer in core.peers else sender
        if to:
            log.mended, log.mender = core.now, to
            core.send(to, Mend(bytes.fromhex(log.writer), log.fork, wire.pack(self._held(log.writer))))

    def mend(self, sender: str, mend: Mend) -> None:
        core = self._core
        log = core.logs.get(mend.writer.hex())
        if log is None or log.fork != mend.fork or log.evidence:
            return
        if log is core.own:
            self._mine.acknowledge(sender)
        ack = read(log.ack) if log.ack is not None else None
        tally = core.order.tally(log.writer)
        if (
            log.ack is None
            or not isinstance(ack, Ack)
            or (tally.count, tally.digest()) != (ack.live, ack.digest)
        ):
            return
        living = self._held(log.writer)
        core.send(sender, Living(log.ack, wire.pack(living)))
        lacking = sorted(set(living) - set(wire.unpack(mend.held)))
        if lacking:
            core.effects.append(Serve(sender, log.writer, sequences=tuple(lacking)))

    def living(self, sender: str, message: Living) -> None:
        """One answer to each question: what it says is dear to check."""
        core = self._core
        ack, log = read(message.ack), core.log(message.ack.signer)
        if not isinstance(ack, Ack) or log is None or log is core.own or log.mender != sender:
            return
        log.mender = ""
        if ack.fork != log.fork or log.delivered != ack.length:
            return
        sequences = wire.unpack(message.sequences)
        price = _PRICE * len(sequences)
        if not log.affords(price, core.settings, core.now):
            core.counters["too much at once"] += 1
            return
        log.pay(price)
        tally = Tally(sequences)
        if (tally.count, tally.digest()) != (ack.live, ack.digest) or len(set(sequences)) != len(sequences):
            core.counters["malformed"] += 1
            return
        if message.ack != log.ack and not core.notary.genuine(message.ack):
            core.counters["badly signed"] += 1
            return
        living = frozenset(sequences)
        held = [entry for entry in core.order.newest(log.writer) if entry.value is not None]
        log.missing = living - {entry.sequence for entry in held}
        core.counters["mended"] += 1
        core.show(core.order.apply((), [entry for entry in held if entry.sequence not in living]))

    def refine(self, log: WriterLog, chunk: Chunk, said: Head) -> None:
        """Living entries that whoever passed the log on had left out."""
        core = self._core
        peaks = Peaks()
        if not fold(peaks, chunk.pieces) or peaks.length != said.length or peaks.root() != said.root:
            core.counters["malformed"] += 1
            return
        if said.length > log.length or not core.genuine(log, chunk.head):
            return
        bodies = [body for body in bodies_of(chunk.pieces) if body.sequence in log.missing]
        log.pay(cost(chunk.pieces))
        log.missing -= {body.sequence for body in bodies}
        log.mended = None
        core.effects.append(Refine(log.writer, chunk.pieces))
        core.show(core.order.apply(core.taken(log, bodies)))
        self.settle(log, "")

    def _held(self, writer: str) -> list[int]:
        return sorted(entry.sequence for entry in self._core.order.newest(writer) if entry.value is not None)
