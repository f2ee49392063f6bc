"""Lies on a wire, and of those who call."""

from __future__ import annotations

from hivemind.protocols.mux.frame import Kind, encode
from hivemind.protocols.noise.channel import Channel
from hivemind.security.identity import Identity
from hivemind.sim.adversaries.channel.liar import INTERVAL, Liar, records
from hivemind.sim.hosts.channel.peer import HIVE, Peer, Write
from hivemind.sim.streams import End


class Garbler(Liar):
    name = "garbler"
    about = "changes a bit here and there on the wire"
    evidence = ("a bit was changed on the wire", "a connection was refused")

    def tampered(self, end: End, data: bytes) -> list[bytes]:
        if not data or not self.sometimes():
            return [data]
        self.tell("a bit was changed on the wire")
        changed = bytearray(data)
        changed[self.dice.randrange(len(changed))] ^= 1 << self.dice.randrange(8)
        return [bytes(changed)]


class Doubler(Liar):
    name = "doubler"
    about = "sends records on the wire twice, and old ones again"
    evidence = ("a record was sent again", "a connection was refused")

    def begin(self) -> None:
        super().begin()
        self._old: list[bytes] = []

    def tampered(self, end: End, data: bytes) -> list[bytes]:
        _, found = records(data)
        self._old = [*self._old, *found][-50:]
        if not found or not self.sometimes():
            return [data]
        self.tell("a record was sent again")
        again = found[-1] if self.dice.random() < 0.5 else self.dice.choice(self._old)
        return [data, again]


class Omitter(Liar):
    name = "omitter"
    about = "leaves records out of a stream"
    evidence = ("a record was left out",)

    def tampered(self, end: End, data: bytes) -> list[bytes]:
        head, found = records(data)
        if not found or not self.sometimes():
            return [data]
        self.tell("a record was left out")
        del found[self.dice.randrange(len(found))]
        return [head + b"".join(found)] if head or found else []


class Swapper(Liar):
    name = "swapper"
    about = "lets a record of a stream overtake the one before it"
    evidence = ("a record overtook another", "a connection was refused")

    def tampered(self, end: End, data: bytes) -> list[bytes]:
        head, found = records(data)
        if len(found) < 2 or self.dice.random() < 0.5:
            return [data]
        self.tell("a record overtook another")
        at = self.dice.randrange(len(found) - 1)
        found[at], found[at + 1] = found[at + 1], found[at]
        return [head + b"".join(found)]


class Cutter(Liar):
    name = "cutter"
    about = "ends streams in the middle of a record, for one side only"
    evidence = ("a stream was cut in a record",)

    def tampered(self, end: End, data: bytes) -> list[bytes]:
        if len(data) < 2 or not self.sometimes():
            return [data]
        self.tell("a stream was cut in a record")
        self.world.after(1, end.other.end)
        return [data[: self.dice.randrange(len(data))]]


class Caller(Liar):
    """Calls others, over and over, as somebody else than the member whose machine it sits on."""

    def begin(self) -> None:
        self.every(INTERVAL, self._call)

    def _call(self) -> None:
        if not self.process.up:
            return
        victim = self.dice.choice(self.nodes_in_order[1:])
        end = self.streams.dial(self.process, victim)
        for data in self.speech(victim):
            end.write(data)

    def speech(self, victim: str) -> list[bytes]:
        return []

    def handshake(self, seed: bytes, hive: str, victim: str, version: int = 1) -> list[bytes]:
        channel = Channel(
            seed,
            Identity(seed).public,
            hive,
            initiator=True,
            ephemeral=self.dice.randbytes(32),
            remote=victim,
            version=version,
        )
        return [channel.outgoing()]


class Babbler(Caller):
    name = "babbler"
    about = "calls and sends bytes that mean nothing, or announces more than comes"
    evidence = ("babble was sent to a listener", "a connection was refused")

    def speech(self, victim: str) -> list[bytes]:
        self.tell("babble was sent to a listener")
        rest = self.dice.randbytes(self.dice.randrange(2_000))
        return [self.dice.choice((rest, b"hm\x01\x01" + rest, b"hm\x01\x01\xff\xff" + rest, b"h"))]


class Stranger(Caller):
    name = "stranger"
    about = "calls with a key that is no member's, for another hive, or in another version"
    evidence = ("a stranger called", "a connection was refused")

    def speech(self, victim: str) -> list[bytes]:
        self.tell("a stranger called")
        own = self.dice.randbytes(32)
        fate = self.dice.randrange(3)
        if fate == 0:
            return self.handshake(own, HIVE, victim)
        return self.handshake(self.seed, "elsewhere" if fate == 1 else HIVE, victim, version=1 + (fate == 2))


class Replayer(Caller):
    name = "replayer"
    about = "listens on the wires of others, and calls later with all that a caller had said"
    evidence = ("a whole call was played again", "a connection was refused")

    def begin(self) -> None:
        super().begin()
        self._calls: dict[End, list[bytes]] = {}
        self.streams.tamper = self._listen

    def _listen(self, end: End, data: bytes) -> list[bytes]:
        if end.dialed and end.process is not self.process:
            self._calls.setdefault(end, []).append(data)
        return [data]

    def _call(self) -> None:
        if not self._calls or not self.process.up:
            return
        call = self.dice.choice(list(self._calls))
        self.tell("a whole call was played again")
        end = self.streams.dial(self.process, call.other.process.node)
        for data in self._calls[call]:
            end.write(data)


class HostileFrames(Liar):
    name = "hostile-frames"
    about = "a member that says in its frames what no multiplexer does"
    evidence = ("a hostile frame was sent", "a connection was refused")
    at_a_node = True

    def begin(self) -> None:
        self.process.mind = self
        self.every(INTERVAL, self._strike)

    def _strike(self) -> None:
        peer = self.process.machine
        if not isinstance(peer, Peer) or self.process.frozen:
            return
        for line in list(peer.links.values()):
            self.tell("a hostile frame was sent")
            self.process.do([Write(line.end, line.channel.seal(self._frame()))])

    def _frame(self) -> bytes:
        dice = self.dice
        kind = dice.choice(list(Kind))
        number = dice.choice((0, 1, 2, 3, 8, 2**31, 2**32 - 1))
        payload = dice.choice((b"", dice.randbytes(dice.randrange(300)), b"\xff" * 12, bytes(9_000)))
        return dice.choice((encode(kind, number, payload), dice.randbytes(dice.randrange(40)), b""))
