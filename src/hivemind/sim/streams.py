"""Streams: bytes between two nodes, in their order, each once or not at all, as TCP gives them.

What is lost on its way is sent again and only late; a link that is cut for too long breaks the stream; a process that
is gone answers with a reset. What was written arrives in pieces of any size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hivemind.protocols.machine import MILLISECOND, Micros
from hivemind.sim.network import Network
from hivemind.sim.process import Process
from hivemind.sim.world import World

_AGAIN = 40 * MILLISECOND
_TRIES = 25
_LATENCY = 500

Tamper = Callable[["End", bytes], list[bytes]]


class Called(msgspec.Struct, frozen=True):
    """Somebody opened a stream to here."""

    end: Any


class Came(msgspec.Struct, frozen=True):
    end: Any
    data: bytes


class Ended(msgspec.Struct, frozen=True):
    """The other side has closed it, or it broke."""

    end: Any


class End:
    """One side of a stream, in one life of a process."""

    def __init__(self, streams: Streams, process: Process, *, dialed: bool) -> None:
        self.streams, self.process, self.dialed = streams, process, dialed
        self.life = process.starts
        self.open = True
        self.other: End
        self.arrives: Micros = 0
        """When the newest of what is on its way to the other side gets there."""
        self.under_way: deque[tuple[Micros, Callable[[], None]]] = deque()

    @property
    def there(self) -> bool:
        return self.open and self.process.up and self.process.starts == self.life

    def write(self, data: bytes) -> None:
        if self.there and data:
            for part in self.streams.tamper(self, data):
                if part:
                    self.streams.send(self, part)

    def close(self) -> None:
        """What was written still arrives."""
        if self.open:
            self.streams.send(self, b"")
            self.open = False

    def end(self) -> None:
        """Nothing comes any more."""
        if self.there:
            self.open = False
            self.process.submit(Ended(self))
        self.open = False


class Streams:
    def __init__(self, world: World, network: Network, processes: Mapping[str, Process]) -> None:
        self._world, self._network, self._processes = world, network, processes
        self._dice = world.dice("streams")
        self.tamper: Tamper = lambda end, data: [data]
        """What is really sent in the place of what a side writes: whoever owns the wire decides."""

    def dial(self, process: Process, to: str) -> End:
        mine, theirs = End(self, process, dialed=True), End(self, self._processes[to], dialed=False)
        mine.other, theirs.other = theirs, mine
        self._after(mine, lambda: self._called(theirs))
        return mine

    def send(self, end: End, data: bytes) -> None:
        """Empty: that was all."""
        at = 0
        while at < len(data):
            size = 1 + self._dice.randrange(max(len(data), 1))
            part = data[at : at + size]
            at += size
            self._after(end, lambda part=part: self._came(end.other, part))  # type: ignore[misc]
        if not data:
            self._after(end, end.other.end)

    def _after(self, end: End, act: Callable[[], None]) -> None:
        delay = _LATENCY + self._dice.randrange(_LATENCY)
        if self._dice.random() < self._network.weather.loss:
            self._world.cover("loss")
            delay += _AGAIN
        delay += self._network.slowness(end.process.node)
        end.arrives = max(end.arrives, self._world.now + delay)
        end.under_way.append((end.arrives, act))
        self._world.at(end.arrives, lambda: self._arrive(end, _TRIES))

    def _arrive(self, end: End, tries: int) -> None:
        """What comes behind waits as well: nobody is overtaken."""
        if not end.under_way or end.under_way[0][0] > self._world.now:
            return
        if self._network.whole(end.process.node, end.other.process.node):
            while end.under_way and end.under_way[0][0] <= self._world.now:
                end.under_way.popleft()[1]()
        elif tries:
            self._world.cover("cut off")
            self._world.after(_AGAIN, lambda: self._arrive(end, tries - 1))
        else:
            self._world.cover("a stream broke")
            end.under_way.clear()
            end.end()
            end.other.end()

    def _called(self, theirs: End) -> None:
        theirs.life = theirs.process.starts
        if theirs.process.up:
            theirs.process.submit(Called(theirs))
        else:
            self._world.after(_LATENCY, theirs.other.end)

    def _came(self, end: End, data: bytes) -> None:
        if end.there:
            end.process.submit(Came(end, data))
        else:
            self._world.after(_LATENCY, end.other.end)
