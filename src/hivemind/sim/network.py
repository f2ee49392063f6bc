"""The network: every link loses, doubles, delays and reorders as it was told to, each way by dice of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import msgspec

from hivemind.protocols.machine import MILLISECOND, Micros
from hivemind.sim.world import World

Deliver = Callable[[str, bytes], None]
_DEAREST = 200
"""Nothing is later than this many times the usual latency, unless it is lost."""


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """How links are at a time. Rates are between 0 and 1."""

    latency: Micros = 500
    jitter: Micros = 300
    """At most this much on top of the latency."""
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """How often something is held back for several latencies, so that others overtake it."""


class Network:
    def __init__(self, world: World, weather: Weather, *, mtu: int | None = None) -> None:
        """`mtu`: datagrams that are larger are dropped, as real ones are; None: a stream carries what it is given,
        and still a message may be lost with its connection."""
        self._world, self._mtu = world, mtu
        self.weather = weather
        self._fair = weather
        self._nodes: dict[str, Deliver] = {}
        self._dice: dict[tuple[str, str], Random] = {}
        self._cut: Counter[tuple[str, str]] = Counter()
        self._slow: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        """Node -> messages."""

    def attach(self, node: str, deliver: Deliver) -> None:
        """`deliver(sender, message)` is called for what arrives there."""
        self._nodes[node] = deliver

    def cut(self, sender: str, receiver: str) -> None:
        """Nothing more arrives that way; as often as it was cut, it must be mended."""
        self._cut[sender, receiver] += 1

    def mend(self, sender: str, receiver: str) -> None:
        self._cut[sender, receiver] -= 1

    def whole(self, sender: str, receiver: str) -> bool:
        """What is sent that way may arrive."""
        return self._cut[sender, receiver] <= 0

    def slow(self, node: str, by: Micros) -> None:
        """All that it sends takes that much longer; negative takes it back."""
        self._slow[node] += by

    def slowness(self, node: str) -> Micros:
        """How much longer all that it sends takes."""
        return self._slow[node]

    def heal(self) -> None:
        """Fair weather, and every link whole."""
        self.weather = self._fair
        self._cut.clear()
        self._slow.clear()

    def send(self, sender: str, receiver: str, message: bytes) -> None:
        self.sent[sender] += 1
        if receiver not in self._nodes:
            return
        if self._mtu is not None and len(message) > self._mtu:
            self._world.cover("datagram too large")
            return
        dice, weather = self._dice_of(sender, receiver), self.weather
        if dice.random() < weather.loss:
            self._world.cover("loss")
            return
        copies = 1
        if dice.random() < weather.duplicate:
            self._world.cover("duplicate")
            copies = 2
        for _ in range(copies):
            delay = self._delay(dice, weather) + self._slow[sender]
            self._world.after(delay, lambda: self._arrive(sender, receiver, message))

    def carry(self, sender: str, receiver: str, message: bytes) -> None:
        """Over a connection: of any size, and nothing is lost while there is a way."""
        if receiver in self._nodes:
            delay = self._delay(self._dice_of(sender, receiver), self._fair) + self._slow[sender]
            self._world.after(delay, lambda: self._arrive(sender, receiver, message))

    def _delay(self, dice: Random, weather: Weather) -> Micros:
        delay = weather.latency + dice.randrange(weather.jitter + 1)
        if dice.random() < weather.reorder:
            self._world.cover("reorder")
            delay += dice.randrange(min(weather.latency * _DEAREST, 400 * MILLISECOND))
        return delay

    def _arrive(self, sender: str, receiver: str, message: bytes) -> None:
        """What was on its way when the link was cut does not arrive either."""
        if not self.whole(sender, receiver):
            self._world.cover("cut off")
            return
        self._nodes[receiver](sender, message)

    def _dice_of(self, sender: str, receiver: str) -> Random:
        found = self._dice.get((sender, receiver))
        if found is None:
            found = self._dice[sender, receiver] = self._world.dice("link", sender, receiver)
        return found
