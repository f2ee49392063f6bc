"""One node with its connections: a channel and a multiplexer on each stream, and the rules of `transport.peers`.

When two call each other at once the call of the one with the lower id is kept. Whoever is called hears the caller say
hello before it is believed to be there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import Any

import msgspec

from hivemind.protocols.machine import MILLISECOND, Micros
from hivemind.protocols.mux import events
from hivemind.protocols.mux.limits import Limits
from hivemind.protocols.mux.machine import Mux
from hivemind.protocols.noise.channel import Channel, Rekeying
from hivemind.protocols.noise.cipher import Refused
from hivemind.sim.process import Process
from hivemind.sim.streams import Called, Came, End, Ended

HIVE = "sim"
SERVICE = "talk"
REKEYING = Rekeying(records=9, size=4_000)
_HELLO, _MINE = b"\x01", b"\x02"
_HANDSHAKE = 500 * MILLISECOND
_PAUSE = 120 * MILLISECOND
_LIMITS = Limits(ping_after=300 * MILLISECOND, dead_after=900 * MILLISECOND)


class Say(msgspec.Struct, frozen=True):
    """Somebody at this node has something to tell another one; `ask`: and wants an answer."""

    to: str
    text: bytes
    ask: bool = False


class Dial(msgspec.Struct, frozen=True):
    to: str


class Write(msgspec.Struct, frozen=True):
    end: Any
    data: bytes


class Close(msgspec.Struct, frozen=True):
    end: Any


class Heard(msgspec.Struct, frozen=True):
    """`binding` names the connection, the same on both sides."""

    sender: str
    text: bytes
    binding: bytes
    ordered: bool
    """Messages come in their order; questions go beside them."""


class Answered(msgspec.Struct, frozen=True):
    sender: str
    text: bytes


class Line:
    """One connection."""

    def __init__(self, end: End, channel: Channel, began: Micros) -> None:
        self.end, self.channel, self.began = end, channel, began
        self.mux: Mux | None = None
        self.greeted = False
        self.records = 0
        """Sealed here."""

    @property
    def peer(self) -> str:
        return self.channel.peer


class Peer:
    def __init__(
        self, process: Process, seed: bytes, members: Collection[str], dice: Random, *, hive: str = HIVE
    ) -> None:
        self._process, self._seed, self._members, self._hive = process, seed, members, hive
        self._dice = dice
        self.lines: dict[End, Line] = {}
        self.links: dict[str, Line] = {}
        """Node -> the connection that is used."""
        self._waiting: dict[str, list[Say]] = {}
        self._not_before: dict[str, Micros] = {}
        self._effects: list[Any] = []
        self._now: Micros = 0
        self.refused = 0
        self.cross: Callable[[], None] = lambda: None
        """Called when two calls met."""

    def handle(self, event: Any, now: Micros) -> list[Any]:
        self._now = now
        if isinstance(event, Called):
            self._begin(event.end, remote=None)
        elif isinstance(event, Came):
            self._came(event.end, event.data)
        elif isinstance(event, Ended):
            self._drop(event.end)
        elif isinstance(event, Say):
            self._waiting.setdefault(event.to, []).append(event)
        self._tick()
        effects, self._effects = self._effects, []
        return effects

    def deadline(self) -> Micros | None:
        due = [line.mux.deadline() if line.mux else line.began + _HANDSHAKE for line in self.lines.values()]
        due += [self._not_before.get(node, self._now) for node in self._waiting if node not in self.links]
        return min(due, default=None)

    def check(self) -> None:
        for line in self.lines.values():
            if line.mux:
                line.mux.check()
        assert all(line is self.lines.get(line.end) for line in self.links.values())

    def dialed(self, end: End, to: str) -> list[Any]:
        """The stream that was wished for."""
        self._begin(end, remote=to)
        effects, self._effects = self._effects, []
        return effects

    # -- how a connection begins ---------------------------------------------------------------------------------

    def _begin(self, end: End, *, remote: str | None) -> None:
        channel = Channel(
            self._seed,
            self._process.node,
            self._hive,
            initiator=remote is not None,
            ephemeral=self._dice.randbytes(32),
            remote=remote,
            rekeying=REKEYING,
        )
        self.lines[end] = Line(end, channel, self._now)
        self._effects.append(Write(end, channel.outgoing()))

    def _came(self, end: End, data: bytes) -> None:
        line = self.lines.get(end)
        if line is None:
            return
        try:
            records = line.channel.receive(data)
            if line.peer and line.peer not in self._members:
                raise Refused("a stranger")
            if answer := line.channel.outgoing():
                self._effects.append(Write(end, answer))
            if end.dialed and line.channel.established and not line.greeted:
                line.greeted = True
                self._effects.append(Write(end, line.channel.seal(_HELLO)))
            for record in records:
                self._take(line, record)
        except Refused:
            self.refused += 1
            self._process.world.cover("a connection was refused")
            self._drop(end)

    def _take(self, line: Line, record: bytes) -> None:
        if line.end not in self.lines:
            return
        if line.mux:
            line.mux.receive(record, self._now)
            self._happened(line)
        elif line.end.dialed and record == _MINE:
            self._drop(line.end)
        elif record != _HELLO:
            raise Refused("no hello")
        elif line.end.dialed or self._taken(line):
            self._open(line)
        else:
            self.cross()
            self._effects.append(Write(line.end, line.channel.seal(_MINE)))
            self._drop(line.end)

    def _taken(self, line: Line) -> bool:
        if self._process.node > line.peer:
            return True
        mine = self.links.get(line.peer)
        if mine is not None and mine.end.dialed:
            if mine.mux is not None:
                mine.mux.probe(self._now, 200 * MILLISECOND)
            return False
        return not any(
            other.end.dialed and other.peer == line.peer and other.end.there for other in self.lines.values()
        )

    def _open(self, line: Line) -> None:
        if not line.end.dialed:
            self._effects.append(Write(line.end, line.channel.seal(_HELLO)))
        line.mux = Mux(initiator=line.end.dialed, now=self._now, limits=_LIMITS)
        if (old := self.links.get(line.peer)) is not None:
            self._drop(old.end)
        self.links[line.peer] = line
        self._process.world.cover("connected")
        for other in [one for one in self.lines.values() if one.peer == line.peer and one is not line]:
            if other.end.dialed and other.mux is None:
                self._drop(other.end)

    # -- what goes over it ---------------------------------------------------------------------------------------

    def _happened(self, line: Line) -> None:
        assert line.mux is not None
        for event in line.mux.events():
            if isinstance(event, events.Heard):
                self._effects.append(Heard(line.peer, event.message, line.channel.binding, True))
            elif isinstance(event, events.Asked):
                self._effects.append(Heard(line.peer, event.question, line.channel.binding, False))
                line.mux.reply(event.stream, event.question)
            elif isinstance(event, events.Answered):
                self._effects.append(Answered(line.peer, event.answer))

    def _tick(self) -> None:
        for line in list(self.lines.values()):
            slow = line.mux is None and self._now >= line.began + _HANDSHAKE
            if slow or (line.mux is not None and not line.mux.tick(self._now)):
                self._process.world.cover("a silent connection was given up")
                self._drop(line.end)
        for node in list(self._waiting):
            self._hand(node)
        for line in list(self.links.values()):
            self._pump(line)

    def _hand(self, node: str) -> None:
        line = self.links.get(node)
        if line is None or line.mux is None:
            if self._now >= self._not_before.get(node, 0):
                self._not_before[node] = self._now + _PAUSE + self._dice.randrange(_PAUSE)
                self._effects.append(Dial(node))
            return
        for say in self._waiting.pop(node):
            if not say.ask:
                line.mux.message(SERVICE, say.text)
            elif line.mux.ask(SERVICE, say.text) is None:
                self._waiting.setdefault(node, []).append(say)

    def _pump(self, line: Line) -> None:
        assert line.mux is not None
        sealed = bytearray()
        while (frame := line.mux.next_frame()) is not None:
            sealed += line.channel.seal(frame)
            line.records += 1
            if line.records == REKEYING.records:
                self._process.world.cover("keys changed")
        if sealed:
            self._effects.append(Write(line.end, bytes(sealed)))

    def _drop(self, end: End) -> None:
        line = self.lines.pop(end, None)
        if line is not None:
            self._effects.append(Close(end))
            if self.links.get(line.peer) is line:
                del self.links[line.peer]
