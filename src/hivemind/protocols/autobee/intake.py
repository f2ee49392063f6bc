"""Taking in parts of other writers' logs: what continues them, what replaces them, and what contradicts them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from hivemind.protocols.autobee.core import Core
from hivemind.protocols.autobee.delivery import Delivery
from hivemind.protocols.autobee.entry import Head, read
from hivemind.protocols.autobee.evidence import Fork, convicted, encode_evidence
from hivemind.protocols.autobee.log import BODY, Piece, cleared, cost, fold, split
from hivemind.protocols.autobee.mending import Mending
from hivemind.protocols.autobee.own import OwnLog
from hivemind.protocols.autobee.steps import Convict, Exposed, Store
from hivemind.protocols.autobee.tree import Peaks
from hivemind.protocols.autobee.wire import Accuse, Chunk, Want
from hivemind.protocols.autobee.writer_log import WriterLog, bodies_of
from hivemind.security.statement import Statement


class Intake:
    def __init__(self, core: Core, own: OwnLog, delivery: Delivery, mending: Mending) -> None:
        self._core, self._mine, self._delivery, self._mending = core, own, delivery, mending
        self._exposed = False

    def chunk(self, sender: str, chunk: Chunk) -> None:
        core = self._core
        said, writer = read(chunk.head), chunk.head.signer
        if writer == core.node:
            self._remembered(chunk.head, said)
            return
        log = core.log(writer)
        if not isinstance(said, Head) or log is None or said.fork < log.fork or said.fork <= 0:
            return
        if not log.affords(cost(chunk.pieces), core.settings, core.now):
            core.counters["too much at once"] += 1
            return
        if chunk.before:
            self._compare(log, chunk, said)
        elif log.missing and said.fork == log.fork and chunk.pieces and chunk.pieces[0].start == 0:
            self._mending.refine(log, chunk, said)
        elif chunk.pieces:
            self._continue(sender, log, chunk, said)

    def _remembered(self, head: Statement, said: Any) -> None:
        """Others have more of one's own log than oneself: it was lost here, so a new one begins."""
        core = self._core
        if not isinstance(said, Head) or (said.fork, said.length) <= (
            core.own.fork,
            core.own.length,
        ):
            return
        if core.notary.genuine(head):
            core.counters["own log lost"] += 1
            self._mine.refork(max(said.fork + 1, core.wall(core.now)))

    def _continue(self, sender: str, log: WriterLog, chunk: Chunk, said: Head) -> None:
        start, end = chunk.pieces[0].start, chunk.pieces[-1].end
        if said.fork == log.fork and end <= log.length:
            self._same_place(log, chunk, said)
        elif said.fork == log.fork and start == log.length:
            self._extend(sender, log, chunk, said)
        elif start == 0 or (log.coming is not None and log.coming[2] == said.fork):
            self._replace(sender, log, chunk, said)
        else:
            self._core.ask(sender, log, said.fork)

    def _same_place(self, log: WriterLog, chunk: Chunk, said: Head) -> None:
        """Nothing new; unless it contradicts what the writer had said."""
        known = log.roots.get(said.length)
        other = read(known) if known is not None else None
        if known is not None and isinstance(other, Head) and other.root != said.root:
            self.accused(encode_evidence(Fork(known, chunk.head)))

    def _extend(self, sender: str, log: WriterLog, chunk: Chunk, said: Head) -> None:
        core = self._core
        peaks = log.peaks.copy()
        if not self._folds(peaks, chunk, said) or not core.genuine(log, chunk.head):
            return
        whole = peaks.copy()
        fold(whole, chunk.behind)
        if whole.root() != said.root:
            core.counters["does not continue"] += 1
            if log.head is not None:
                known = read(log.head)
                at = known.length if isinstance(known, Head) else 0
                core.send(sender, Want(bytes.fromhex(log.writer), said.fork, at, proof=True))
            return
        log.peaks = peaks
        log.took(chunk.head, chunk.behind, said)
        log.pay(cost(chunk.pieces))
        log.size += cost(chunk.pieces)
        log.coming, log.asked = None, None
        log.waiting.extend(bodies_of(chunk.pieces))
        core.effects.append(Store(log.writer, chunk.pieces, chunk.head, chunk.behind))
        if chunk.behind:
            core.ask(sender, log, log.fork, again=True)
        else:
            core.pass_on(log, chunk, sender)
        self._delivery.deliver(sender)

    def _folds(self, peaks: Peaks, chunk: Chunk, said: Head) -> bool:
        """Whether the chunk continues `peaks`, which are changed, up to the length that was signed."""
        if not fold(peaks, chunk.pieces):
            self._core.counters["malformed"] += 1
            return False
        whole = peaks.copy()
        sound = fold(whole, chunk.behind) and whole.length == said.length
        sound = sound and all(piece.level != BODY for piece in chunk.behind)
        if not sound:
            self._core.counters["malformed"] += 1
        return sound

    def _replace(self, sender: str, log: WriterLog, chunk: Chunk, said: Head) -> None:
        """A log from its beginning on: of a higher fork, or cleared so that it does not continue what is here."""
        core = self._core
        if chunk.pieces[0].start == 0:
            log.coming = (Peaks(), [], said.fork)
        assert log.coming is not None
        peaks, pieces, _ = log.coming
        peaks = peaks.copy()
        if not self._folds(peaks, chunk, said) or not core.genuine(log, chunk.head):
            return
        whole = peaks.copy()
        fold(whole, chunk.behind)
        if whole.root() != said.root:
            log.coming = None
            return
        log.pay(cost(chunk.pieces))
        log.coming = (peaks, [*pieces, *chunk.pieces], said.fork)
        log.asked = None
        if chunk.behind:
            core.ask(sender, log, said.fork, again=True)
            return
        self._swap(sender, log, chunk.head, said)
        if chunk.pieces[0].start == 0:
            core.pass_on(log, chunk, sender)

    def _swap(self, sender: str, log: WriterLog, head: Statement, said: Head) -> None:
        """What had been delivered is replaced at once, so that nobody sees it gone; the rest waits for its causes."""
        core = self._core
        assert log.coming is not None
        peaks, pieces, _ = log.coming
        if said.fork == log.fork and self._contradicts(log, head, pieces):
            return
        anew = said.fork > log.fork
        gone = list(core.order.newest(log.writer)) if anew else []
        delivered = (peaks.length if log.length else 0) if anew else log.delivered
        if anew:
            log.roots, log.ack, log.clock = {}, None, 0
        log.coming, log.peaks, log.size = None, peaks, cost(pieces)
        log.took(head, (), said)
        core.effects.append(Store(log.writer, tuple(pieces), head, whole=True))
        bodies = bodies_of(pieces)
        held = next(
            (at for at, b in enumerate(bodies) if b.sequence > delivered or not core.plausible(b)),
            len(bodies),
        )
        log.waiting = deque(bodies[held:])
        core.show(core.order.apply(core.taken(log, bodies[:held]), gone))
        self._delivery.deliver(sender)
        self._mending.settle(log, sender)

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
        self.accused(encode_evidence(Fork(log.head, head, before, behind)))
        return True

    def _compare(self, log: WriterLog, chunk: Chunk, said: Head) -> None:
        """A log as nodes only, parted where the head that we have ends: it proves a fork, or nothing."""
        if log.head is not None and said.fork == log.fork:
            self.accused(encode_evidence(Fork(log.head, chunk.head, chunk.before, chunk.behind)))

    def accused(self, evidence: bytes) -> None:
        """Convicts, tells everyone, and shows nothing of that writer any more."""
        core = self._core
        writer = convicted(evidence, core.notary)
        log = core.logs.get(writer)
        if log is None or log.evidence:
            return
        if log is core.own:
            core.effects += [] if self._exposed else [Exposed(evidence)]
            self._exposed = True
            return
        log.evidence, log.waiting, log.coming = evidence, deque(), None
        core.effects.append(Convict(writer, evidence))
        core.push(Accuse(evidence), core.everyone())
        core.show(core.order.apply((), list(core.order.newest(writer))))
        self._delivery.deliver("")
