"""What all parts of the machine share: the logs, the view over them, who is there, and what is to be done next."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hivemind.protocols.autobee import wire
from hivemind.protocols.autobee.entry import Body, Entry, Notary, entry_of
from hivemind.protocols.autobee.log import cost
from hivemind.protocols.autobee.order import Order
from hivemind.protocols.autobee.steps import (
    Changed,
    Settings,
)
from hivemind.protocols.autobee.wire import Chunk, Hello, Mark, Want
from hivemind.protocols.autobee.writer_log import WriterLog
from hivemind.protocols.machine import Micros, Send, Signer, Verifier
from hivemind.security.statement import Statement


class Core:
    """See `replica.Replica` for the arguments."""

    def __init__(
        self,
        hive: str,
        signer: Signer,
        verify: Verifier,
        wall: Callable[[Micros], int],
        settings: Settings,
        outsiders: Callable[[Entry], bool] | None,
    ) -> None:
        self.node, self.order = signer.public, Order()
        self.counters: Counter[str] = Counter()
        """What was refused, by why."""
        self.signer, self.wall, self.settings = signer, wall, settings
        self.verify, self.outsiders = verify, outsiders
        self.notary = Notary(hive, verify)
        self.own = WriterLog(self.node)
        self.logs: dict[str, WriterLog] = {self.node: self.own}
        self.guests: set[str] = set()
        """Those of the logs whose writers were not admitted."""
        self.peers: set[str] = set()
        """Who is connected."""
        self.clock = 0
        """Lamport's: nothing that this node has seen is beyond."""
        self.news: dict[str, None] = {}
        """Whose entries have come since the last own one."""
        self.now: Micros = 0
        self.effects: list[Any] = []

    # -- what others are told --------------------------------------------------------------------------------

    def everyone(self) -> list[str]:
        return [peer for peer in sorted(self.peers) if peer in self.logs]

    def targets(self) -> list[str]:
        """Everyone; or of very many those that stand 1, 2, 4, … places behind in the circle of all, who pass it on."""
        peers = self.everyone()
        if len(peers) <= self.settings.fan_out:
            return peers
        circle = sorted({*peers, self.node})
        at, found, step = circle.index(self.node), [], 1
        while step < len(circle):
            found.append(circle[(at + step) % len(circle)])
            step *= 2
        return found

    def send(self, to: str, message: wire.Message) -> None:
        self.effects.append(Send(to, wire.encode(message)))

    def push(self, message: wire.Message, to: Iterable[str]) -> None:
        encoded = wire.encode(message)
        self.effects += [Send(peer, encoded) for peer in to]

    def greet_all(self) -> None:
        self.push(Hello(self.marks(), True), self.everyone())

    def marks(self) -> tuple[Mark, ...]:
        known = sorted(self.logs.items())
        return tuple(
            Mark(bytes.fromhex(writer), log.fork, log.length, log.peaks.root()[:8])
            for writer, log in known
            if log.length and not log.evidence
        )

    def summary(self) -> bytes:
        marks = b"".join(
            mark.writer + mark.fork.to_bytes(8, "big") + mark.length.to_bytes(8, "big") + mark.root
            for mark in self.marks()
        )
        acks = b"".join(log.ack.signature for _, log in sorted(self.logs.items()) if log.ack is not None)
        return hashlib.blake2b(marks + acks, digest_size=16).digest()

    def pass_on(self, log: WriterLog, chunk: Chunk, sender: str) -> None:
        """News that came in one piece, where not everyone is told by their writer."""
        if len(self.peers) > self.settings.fan_out and cost(chunk.pieces) <= wire.CHUNK:
            self.push(chunk, (peer for peer in self.targets() if peer not in (sender, log.writer)))

    # -- logs and entries -----------------------------------------------------------------------------------

    def log(self, writer: str) -> WriterLog | None:
        """None: that writer does not count."""
        log = self.logs.get(writer)
        if log is None and self.outsiders is not None and len(self.guests) < 64 and len(writer) == 64:
            log = self.logs[writer] = WriterLog(writer)
            self.guests.add(writer)
        return None if log is None or log.evidence else log

    def ask(self, peer: str, log: WriterLog, fork: int, *, again: bool = False) -> None:
        if not again and log.asked is not None and self.now < log.asked + self.settings.patience:
            return
        log.asked = self.now
        start = log.length if log is not self.own else 0
        if log.coming is not None and log.coming[2] == fork:
            start = log.coming[0].length
        elif fork > log.fork:
            start = 0
        self.send(peer, Want(bytes.fromhex(log.writer), fork, start))

    def genuine(self, log: WriterLog, head: Statement) -> bool:
        if head == log.head:
            return True
        if self.notary.genuine(head):
            return True
        self.counters["badly signed"] += 1
        return False

    def plausible(self, body: Body) -> bool:
        return body.clock <= self.wall(self.now) + self.settings.ahead

    def taken(self, log: WriterLog, bodies: Sequence[Body]) -> list[Entry]:
        """The entries that these are, as far as they count; all clocks go past theirs."""
        entries = [entry_of(body, log.writer) for body in bodies]
        if log.writer in self.guests and self.outsiders is not None:
            entries = [entry for entry in entries if self.outsiders(entry)]
        log.clock = max([log.clock, *(body.clock for body in bodies)])
        self.clock = max(self.clock, log.clock)
        if log is not self.own:
            self.news[log.writer] = None
        return entries

    def show(self, entries: Sequence[Entry]) -> None:
        if entries:
            self.effects.append(Changed(tuple(entries)))
