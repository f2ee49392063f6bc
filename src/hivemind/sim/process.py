"""A node's program: a machine on a log, a clock and a network, and what may happen to it.

It keeps the contract of `protocols.machine` as the real drivers do: effects are performed in their order, and
nothing behind a `Persist` is performed before that is durable, which takes its time; meanwhile the machine goes on.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from hivemind.errors import Corrupt
from hivemind.protocols.machine import Machine, Micros, Persist, Received, Send, Tick
from hivemind.sim.clock import Clock
from hivemind.sim.disk import Log
from hivemind.sim.network import Network
from hivemind.sim.violation import Violation
from hivemind.sim.world import World

_INBOX = 10_000
_SYNC = (80, 400)
"""How long an fsync takes: at least, and at most that much more."""

Build = Callable[["Process", list[bytes]], Machine[Any]]
Perform = Callable[["Process", Any], None]
Witness = Callable[["Process", Send], None]


class Mind(Protocol):
    """What a liar has between its machine and the world. It holds the node's real keys."""

    def hears(self, process: Process, event: Any) -> Any | None:
        """What the machine is told; None: nothing."""

    def does(self, process: Process, event: Any, effects: list[Any]) -> list[Any]:
        """What is done in the place of `effects`."""


class Process:
    """`build(process, records)` makes its machine at each start; `perform(process, effect)` does what is neither
    sending nor persisting; `witness(process, send)` sees what leaves an honest one; `forgets()` when the disk,
    and whatever else was on it, is lost."""

    def __init__(
        self,
        world: World,
        network: Network,
        node: str,
        build: Build,
        perform: Perform,
        *,
        witness: Witness | None = None,
        forgets: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
        label: str = "",
    ) -> None:
        self.world, self.network, self.node = world, network, node
        self.label = world.names[node] = label or node
        """As the trace calls it."""
        self.clock = clock or Clock()
        self.log = Log()
        self.up = self.frozen = False
        self.starts = 0
        self.machine: Machine[Any] | None = None
        self.mind: Mind | None = None
        self.forgot = False
        """Its disk was lost, so that it may have voted for what it does not know any more."""
        self.version = 0
        """Which version of the program it runs from its next start on; `build` decides what that means."""
        self.doomed = False
        """It will not survive its next write."""
        self._build, self._perform, self._witness, self._forgets = build, perform, witness, forgets
        self._dice = world.dice("disk", node)
        self._effects: deque[Any] = deque()
        self._syncing = False
        self._performing = False
        self._inbox: deque[Any] = deque()
        self._alarm: Micros | None = None
        network.attach(node, self._arrived)

    @property
    def now(self) -> Micros:
        """By its own clock."""
        return self.clock.monotonic(self.world.now)

    def wall(self, reading: Micros) -> int:
        return self.clock.wall(reading)

    # -- what happens to it ----------------------------------------------------------------------------------

    def start(self) -> None:
        """From what its disk still holds."""
        if self.up:
            return
        self.up, self.frozen = True, False
        self.starts += 1
        self.clock.restart(self.world.now)
        self._alarm = None
        records = self._records()
        self.world.note(self.label, "starts", f"with {len(records)} records")
        try:
            self.machine = self._build(self, records)
        except Exception as error:
            raise self._broken(error) from error
        self.submit(Tick())

    def _records(self) -> list[bytes]:
        """Who finds its log damaged knows that it forgot, puts it away and begins another."""
        try:
            return self.log.read()
        except Corrupt as error:
            self.world.cover("damage found")
            self.world.note(self.label, "finds", f"its log damaged: {error.message}")
            self.log.lose()
            self.forgot = True
            return []

    def crash(self) -> None:
        """Like `kill -9` and a power cut at once: what was not durable may be gone."""
        if self.up:
            self._die(self.log.crash(self._dice))

    def _die(self, torn: bool) -> None:
        self.up = self.frozen = self.doomed = self._syncing = False
        self.machine = None
        self._effects.clear()
        self._inbox.clear()
        self.world.cover("crash")
        if torn:
            self.world.cover("torn record")
        self.world.note(self.label, "crashes", "its last record is torn" if torn else "")

    def doom(self) -> None:
        """Its power goes while it writes, the next time that it does."""
        self.doomed = self.up

    def _tear(self, start: int) -> None:
        if self.up and self.starts == start and self.doomed and self.log.writing:
            self.log.tear(self._dice)
            self._die(True)

    def rot(self) -> None:
        """It crashes, and a bit of what it had written long ago is another when it comes back."""
        self.crash()
        if self.log.rot(self._dice):
            self.world.cover("rot")
            self.world.note(self.label, "rots", "a bit of its log is another")

    def lose_disk(self) -> None:
        self.crash()
        self.log.lose()
        self._forgets()
        self.forgot = True
        self.world.cover("amnesia")
        self.world.note(self.label, "loses its disk")

    def freeze(self) -> None:
        if self.up and not self.frozen:
            self.frozen = True
            self.world.cover("freeze")
            self.world.note(self.label, "freezes")

    def thaw(self) -> None:
        """Everything that came meanwhile comes at once, and its timers find that they are late."""
        if not self.frozen:
            return
        self.frozen = False
        self.world.note(self.label, "thaws")
        waiting, self._inbox = self._inbox, deque()
        for event in waiting:
            self.submit(event)
        self.submit(Tick())

    # -- events ----------------------------------------------------------------------------------------------

    def submit(self, event: Any) -> None:
        """Gives the machine an event; a process that is down never hears of it."""
        if not self.up:
            return
        if self.frozen:
            if len(self._inbox) < _INBOX:
                self._inbox.append(event)
            return
        assert self.machine is not None
        if self.mind is not None:
            event = self.mind.hears(self, event)
            if event is None:
                return
        try:
            effects = self.machine.handle(event, self.now)
            self.machine.check()
        except Exception as error:
            if self.mind is not None:  # whoever lies may stumble over it
                self.world.note(self.label, "fails", f"over its own lies: {error}")
                self.crash()
                return
            raise self._broken(error) from error
        if self.mind is not None:
            effects = self.mind.does(self, event, effects)
        self.do(effects)
        self._set_alarm()

    def do(self, effects: Iterable[Any]) -> None:
        self._effects.extend(effects)
        if not self._performing and not self._syncing:
            self._go_on()

    def _go_on(self) -> None:
        """Up to the next thing that must become durable first. What is performed may bring new events: they queue
        behind, nothing calls itself."""
        self._performing = True
        start = self.starts
        while self._effects and self.up and self.starts == start:
            effect = self._effects.popleft()
            if isinstance(effect, Persist):
                self._persist(effect)
                break
            if isinstance(effect, Send):
                self._send(effect)
            else:
                self._perform(self, effect)
        self._performing = False

    def _send(self, send: Send) -> None:
        self.world.note(self.label, "to", self.world.name(send.to), send.message)
        if self.mind is None and self._witness is not None:
            self._witness(self, send)
        self.network.send(self.node, send.to, send.message)

    def _persist(self, first: Persist) -> None:
        """One sync for all that follows each other."""
        self.log.write(first)
        count = 1
        while self._effects and isinstance(self._effects[0], Persist):
            self.log.write(self._effects.popleft())
            count += 1
        self._syncing = True
        start = self.starts
        if self.doomed:
            self.world.after(_SYNC[0] // 2, lambda: self._tear(start))
        self.world.after(_SYNC[0] + self._dice.randrange(_SYNC[1]), lambda: self._synced(start, count))

    def _synced(self, start: int, count: int) -> None:
        if self.up and self.starts == start:
            self.log.sync(count)
            self._syncing = False
            self._go_on()

    def _arrived(self, sender: str, message: bytes) -> None:
        if self.up:
            self.world.note(self.label, "from", self.world.name(sender), message)
            self.submit(Received(sender, message))

    # -- time ------------------------------------------------------------------------------------------------

    def _set_alarm(self) -> None:
        """A timer belongs to the process that set it: none survives a restart."""
        assert self.machine is not None
        deadline = self.machine.deadline()
        if deadline is None:
            return
        time = max(self.clock.world_time(deadline), self.world.now + 1)
        if self._alarm is not None and self.world.now < self._alarm <= time:
            return
        self._alarm = time
        start = self.starts
        self.world.at(time, lambda: self._ring(start, time))

    def _ring(self, start: int, time: Micros) -> None:
        if not self.up or self.starts != start or self._alarm != time:
            return
        self._alarm = None
        assert self.machine is not None
        deadline = self.machine.deadline()
        if deadline is None:
            return
        if self.frozen:
            return
        if deadline <= self.now:
            self.submit(Tick())
        else:
            self._set_alarm()

    def _broken(self, error: Exception) -> Violation:
        if isinstance(error, Violation):
            return error
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.name}, {place.filename.rpartition('/')[2]}:{place.lineno}"
        return Violation(
            "no exception", f"{self.label} failed in {where} with {type(error).__name__}: {error}"
        )
