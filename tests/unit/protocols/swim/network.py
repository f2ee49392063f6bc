"""Members in a network without a wire: one heap of events, one clock, one seed."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter

from hivemind.protocols.machine import SECOND, Micros, Received, Send, Tick
from hivemind.protocols.swim.events import (
    Change,
    Failed,
    Input,
    Joined,
    Left,
    Measured,
    Meet,
    Returned,
    SendReliably,
    Status,
    Suspected,
)
from hivemind.protocols.swim.settings import Settings
from hivemind.protocols.swim.statements import Alive
from hivemind.protocols.swim.swim import Swim

HIVE = "hive"
_BELIEVED = {
    Joined: Status.ALIVE,
    Returned: Status.ALIVE,
    Suspected: Status.SUSPECT,
    Failed: Status.FAILED,
    Left: Status.LEFT,
}


class CheapSigner:
    """Whoever knows the name could sign; liars in tests do not."""

    def __init__(self, public: str) -> None:
        self.public = public

    def sign(self, message: bytes) -> bytes:
        return _signature(self.public, message)


def cheap_verify(public: str, message: bytes, signature: bytes) -> bool:
    return _signature(public, message) == signature


def _signature(public: str, message: bytes) -> bytes:
    return hashlib.blake2b(message, key=public.encode(), digest_size=64).digest()


class Host:
    """One machine: while it is frozen, what comes in waits as in a socket's buffer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.swim: Swim
        self.lives = 0
        self.up = True
        self.frozen = False
        self.inbox: list[Input] = []
        self.due: Micros | None = None
        self.believed: dict[str, Status | None] = {}
        self.incarnations: dict[str, int] = {}
        """The highest that it has held of each."""


class Network:
    def __init__(
        self,
        size: int,
        *,
        seed: int = 0,
        loss: float = 0.0,
        settings: Settings | None = None,
    ) -> None:
        self.now: Micros = 0
        self.settings = settings or Settings()
        self.loss = loss
        self.dice = random.Random(f"network {seed}")
        self.seed = seed
        self.sent: Counter[str] = Counter()
        self.largest = 0
        self.told: list[tuple[Micros, str, Change]] = []
        """When, whom, what."""
        self.cuts: set[tuple[str, str]] = set()
        self.no_datagrams: set[tuple[str, str]] = set()
        self._heap: list[tuple[Micros, int, str, Input | None]] = []
        self._ties = self._events = 0
        self.hosts: dict[str, Host] = {}
        for number in range(size):
            self.start(f"n{number}")

    def start(self, name: str, incarnation: int = 1, *, meet: tuple[str, ...] = ("n0",)) -> None:
        """A new life of a machine, which remembers nothing but its key."""
        host = self.hosts.setdefault(name, Host(name))
        host.lives += 1
        host.up, host.frozen, host.inbox, host.incarnations, host.believed = True, False, [], {}, {}
        dice = random.Random(f"{self.seed} {name} {host.lives}")
        me = Alive(incarnation, ((name, 7000),), f"life {host.lives}".encode())
        host.swim = Swim(me, CheapSigner(name), cheap_verify, dice, self.settings, HIVE)
        self.give(name, Meet(meet))

    def give(self, name: str, event: Input) -> None:
        host = self.hosts[name]
        if not host.up:
            return
        if host.frozen:
            host.inbox.append(event)
            return
        for effect in host.swim.handle(event, self.now):
            if isinstance(effect, Send | SendReliably):
                self._carry(name, effect)
            elif not isinstance(effect, Measured):
                self._tell(host, effect)
        self._events += 1
        if len(self.hosts) <= 10 or self._events % 50 == 0:
            host.swim.check()
            self._remember(host)
        due = host.swim.deadline()
        if due is not None and due != host.due:
            host.due = due
            self._push(max(due, self.now), name, None)

    def _tell(self, host: Host, effect: Change) -> None:
        """Nobody is failed who was not suspected, and only who was something else before returns."""
        before = host.believed.get(effect.node)
        if isinstance(effect, Failed):
            assert before == Status.SUSPECT, f"{host.name} failed {effect.node} without suspicion"
        if isinstance(effect, Returned):
            assert before == effect.was > Status.ALIVE
        host.believed[effect.node] = _BELIEVED.get(type(effect), before)
        self.told.append((self.now, host.name, effect))

    def _remember(self, host: Host) -> None:
        for node in host.swim.known:
            alive = host.swim.alive(node)
            assert alive and alive.incarnation >= host.incarnations.get(node, 0), "an incarnation went back"
            host.incarnations[node] = alive.incarnation

    def _carry(self, sender: str, effect: Send | SendReliably) -> None:
        self.sent[sender] += 1
        link = (sender, effect.to)
        if isinstance(effect, Send):
            self.largest = max(self.largest, len(effect.message))
            if link in self.no_datagrams or self.dice.random() < self.loss:
                return
        # A channel is a conversation: where nothing comes back there is none.
        elif link[::-1] in self.cuts:
            return
        if link not in self.cuts and effect.to in self.hosts:
            later = self.now + 500 + self.dice.randrange(1_000)
            self._push(later, effect.to, Received(sender, effect.message))

    def _push(self, when: Micros, name: str, event: Input | None) -> None:
        self._ties += 1
        heapq.heappush(self._heap, (when, self._ties, name, event))

    def run(self, seconds: float) -> None:
        end = self.now + round(seconds * SECOND)
        while self._heap and self._heap[0][0] <= end:
            self.now, _, name, event = heapq.heappop(self._heap)
            host = self.hosts[name]
            if event is not None:
                self.give(name, event)
            elif host.due is not None and host.due <= self.now and not host.frozen:
                host.due = None
                self.give(name, Tick())
        self.now = end

    # What goes wrong.

    def crash(self, name: str) -> None:
        self.hosts[name].up = False

    def freeze(self, name: str) -> None:
        self.hosts[name].frozen = True

    def thaw(self, name: str) -> None:
        """The timers that ran out are seen first, as a loop would that reads its sockets after."""
        host = self.hosts[name]
        host.frozen = False
        waiting, host.inbox, host.due = host.inbox, [], None
        for event in (Tick(), *waiting):
            self.give(name, event)

    def part(self, *groups: list[str]) -> None:
        self.cuts = {
            (a, b) for one in groups for other in groups if one is not other for a in one for b in other
        }

    # What became of it.

    def statuses(self, name: str) -> dict[str, Status | None]:
        """What everybody else that is up believes of it."""
        return {
            host.name: host.swim.status(name) for host in self.hosts.values() if host.up and host.name != name
        }

    def all_agree(self) -> bool:
        """Everybody that is up is alive to all others that are."""
        return all(
            status == Status.ALIVE
            for host in self.hosts.values()
            if host.up
            for status in self.statuses(host.name).values()
        )

    def of(self, kind: type, since: Micros = 0) -> list[tuple[Micros, str, Change]]:
        return [each for each in self.told if isinstance(each[2], kind) and each[0] >= since]
