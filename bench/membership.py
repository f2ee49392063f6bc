"""How long until a crash is known to all, and what watching each other costs, in hives of 10, 100 and 1,000 nodes.

The members are the real machines with their defaults; time, the network (half a millisecond a datagram, nothing is
lost) and signatures are made up, so that the figures are those of the protocol, and the same on every machine. serf
0.9.4 was measured before, as processes: a killed one of 10 was known to all survivors after 5.8 s, of 25 after 7.6 s.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import statistics

from bench.row import Row, told, within
from hivemind.protocols.machine import MILLISECOND, SECOND, Micros, Received, Send, Tick
from hivemind.protocols.swim.events import Failed, Input, Meet, SendReliably
from hivemind.protocols.swim.settings import Settings
from hivemind.protocols.swim.statements import Alive
from hivemind.protocols.swim.swim import Swim

NOTE = """\
Of 1,000 nodes one crashes; the figures of 10 and 100 are medians of 20 and 5 crashes. Messages are counted from 10 to
20 seconds after the last node found all others. Of 10 and 100 nodes they are the probes alone; why 1,000 still say five
times as much by then was not looked into, nor measured after a longer rest.
"""
SIZES = {10: 20, 100: 5, 1_000: 1}
"""Nodes, and how many of them crash, one after the other."""
SERF = 5.8
DETECTION = 5.0
_DELAY = MILLISECOND // 2
_IDLE = 10 * SECOND
_LATE = 600 * SECOND


class _Signer:
    """Signing is not what is measured here."""

    def __init__(self, public: str) -> None:
        self.public = public

    def sign(self, message: bytes) -> bytes:
        return hashlib.blake2b(message, key=self.public.encode(), digest_size=64).digest()


def _verify(public: str, message: bytes, signature: bytes) -> bool:
    return _Signer(public).sign(message) == signature


class _Hive:
    def __init__(self, size: int) -> None:
        self.now: Micros = 0
        self.sent = 0
        self.failed: dict[str, dict[str, Micros]] = {}
        """Who was found to have failed, by whom, and when."""
        self.members: dict[str, Swim] = {}
        self._heap: list[tuple[Micros, int, str, Input]] = []
        self._due: dict[str, Micros] = {}
        self._ties = 0
        for name in [f"n{number}" for number in range(size)]:
            me = Alive(1, ((name, 7000),), b"")
            self.members[name] = Swim(me, _Signer(name), _verify, random.Random(name), Settings(), "bench")
            self.give(name, Meet(("n0",)))

    def give(self, name: str, event: Input) -> None:
        member = self.members.get(name)
        if member is None:
            return
        for effect in member.handle(event, self.now):
            if isinstance(effect, Send | SendReliably):
                self.sent += 1
                self._push(self.now + _DELAY, effect.to, Received(name, effect.message))
            elif isinstance(effect, Failed):
                self.failed.setdefault(effect.node, {})[name] = self.now
        due = member.deadline()
        if due is not None and due != self._due.get(name):
            self._due[name] = due
            self._push(max(due, self.now), name, Tick())

    def _push(self, at: Micros, name: str, event: Input) -> None:
        self._ties += 1
        heapq.heappush(self._heap, (at, self._ties, name, event))

    def step(self) -> None:
        at, _, name, event = heapq.heappop(self._heap)
        if isinstance(event, Tick) and self._due.get(name) == at:
            del self._due[name]
        self.now = at
        self.give(name, event)

    def pass_time(self, micros: Micros) -> None:
        end = self.now + micros
        while self._heap[0][0] <= end:
            self.step()

    def come_together(self) -> None:
        while not all(len(member.living) == len(self.members) - 1 for member in self.members.values()):
            self.pass_time(SECOND)
            if self.now > _LATE:
                raise RuntimeError("they do not find each other")

    def crash(self, name: str) -> Micros:
        """Until the last survivor knows."""
        begin = self.now
        del self.members[name]
        while len(self.failed.get(name, {})) < len(self.members):
            self.step()
        return max(self.failed[name].values()) - begin


def _measured(size: int, crashes: int) -> list[Row]:
    hive = _Hive(size)
    hive.come_together()
    hive.pass_time(_IDLE)
    before = hive.sent
    hive.pass_time(_IDLE)
    rate = (hive.sent - before) / size / (_IDLE / SECOND)
    took = []
    for number in range(crashes if crashes < size else size // 2):
        took.append(hive.crash(f"n{size - 1 - number}") / SECOND)
        hive.pass_time(SECOND)
    seconds = statistics.median(took)
    who = f"{size:,} nodes"
    peer = f"serf, 10 nodes: {SERF} s"
    return [
        within(f"a crash known to all of {who}", seconds, "s", peer, SERF / seconds, DETECTION),
        told(f"messages a second of each of {who}", rate, "", "-", None),
    ]


def run() -> list[Row]:
    return [row for size, crashes in SIZES.items() for row in _measured(size, crashes)]
