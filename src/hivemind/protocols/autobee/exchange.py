"""Who has what: greetings, questions, and the comparison of summaries once in a while, by which a node learns what it
missed."""

from __future__ import annotations

from hivemind.protocols.autobee.core import Core
from hivemind.protocols.autobee.mending import Mending
from hivemind.protocols.autobee.own import OwnLog
from hivemind.protocols.autobee.steps import Serve
from hivemind.protocols.autobee.wire import Accuse, Acked, Hello, Summary, Want
from hivemind.protocols.machine import SECOND, Micros

_PACE = 4
"""Nodes that a summary goes to each time."""
_QUESTIONS = 200.0


class Exchange:
    def __init__(self, core: Core, own: OwnLog, mending: Mending) -> None:
        self._core, self._mine, self._mending = core, own, mending
        self._next_repair: Micros = 0
        self._turn = 0
        self._patience: dict[str, tuple[float, Micros]] = {}

    @property
    def due(self) -> Micros | None:
        """When the next comparison is."""
        return self._next_repair if self._core.peers else None

    def is_due(self) -> bool:
        """Whether it is time for one, which is then the last one for a while."""
        core = self._core
        if core.now < self._next_repair:
            return False
        self._next_repair = core.now + core.settings.repair
        return True

    def compare(self) -> None:
        core = self._core
        peers = core.everyone()
        for log in core.logs.values() if peers else ():
            self._mending.settle(log, peers[self._turn % len(peers)])
        for step in range(min(_PACE, len(peers))):
            core.send(peers[(self._turn + step) % len(peers)], Summary(core.summary()))
        self._turn += _PACE

    def linked(self, peer: str, up: bool) -> None:
        core = self._core
        if not up:
            core.peers.discard(peer)
            self._patience.pop(peer, None)
            return
        if not core.peers:
            self._next_repair = core.now + core.settings.repair
        core.peers.add(peer)
        if peer in core.logs or core.outsiders is not None:
            self.greet(peer)

    def greet(self, peer: str, *, answer: bool = True) -> None:
        core = self._core
        core.send(peer, Hello(core.marks(), answer))
        self._mine.acknowledge(peer)
        for writer, log in sorted(core.logs.items()):
            if log.evidence:
                core.send(peer, Accuse(log.evidence))
            elif log.ack is not None and writer not in (core.node, peer):
                core.send(peer, Acked(log.ack))

    def has_time(self, sender: str) -> bool:
        """Questions cost more to answer than to ask, so each node has so many a second."""
        core = self._core
        left, since = self._patience.get(sender, (_QUESTIONS, core.now))
        left = min(_QUESTIONS, left + (core.now - since) * _QUESTIONS / SECOND)
        self._patience[sender] = (max(0.0, left - 1), core.now)
        return left >= 1

    def hello(self, sender: str, hello: Hello) -> None:
        core = self._core
        for mark in hello.marks[: len(core.logs) + 1024]:
            writer = mark.writer.hex()
            if writer == core.node:
                if (mark.fork, mark.length) > (core.own.fork, core.own.length):
                    core.ask(sender, core.own, mark.fork)
                continue
            log = core.log(writer)
            if log is None:
                continue
            theirs, ours = (mark.fork, mark.length), (log.fork, log.length)
            if theirs > ours:
                core.ask(sender, log, mark.fork)
            elif theirs == ours and mark.root != log.peaks.root()[:8]:
                core.send(sender, Want(mark.writer, log.fork, log.length, proof=True))
        if not hello.answer:
            self.greet(sender)

    def want(self, sender: str, want: Want) -> None:
        log = self._core.logs.get(want.writer.hex())
        if log is not None and log.fork == want.fork and log.head is not None and want.start <= log.length:
            self._core.effects.append(Serve(sender, log.writer, want.start, want.proof))

    def summary(self, sender: str, summary: Summary) -> None:
        core = self._core
        if summary.digest != core.summary():
            core.send(sender, Hello(core.marks()))
