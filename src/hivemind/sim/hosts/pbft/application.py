"""What is agreed on: a key-value store with compare-and-set, timers, and voters that change."""

from __future__ import annotations

import hashlib
from typing import Literal, Protocol

import msgspec

from hivemind.model.hive import Epoch
from hivemind.protocols.machine import Signer, Verifier
from hivemind.protocols.pbft import limits
from hivemind.protocols.pbft.events import Position
from hivemind.protocols.pbft.wire import Request

_PUSH = 20
"""Milliseconds between the empty batches that carry an agreed epoch to its beginning."""

Kind = Literal["get", "put", "cas", "timer", "voters", "operation"]


class Command(msgspec.Struct, frozen=True, array_like=True):
    """`timer`: something happens `value` milliseconds later; `voters`: `value` are their ids, joined by commas;
    `operation`: `value` is one of the hive's, in JSON."""

    kind: Kind
    key: str = ""
    value: str = ""
    expected: str | None = None


class Signed(msgspec.Struct, frozen=True, array_like=True):
    command: Command
    signature: bytes


_signed = msgspec.msgpack.Decoder(Signed)
Result = str | bool | None


class Executing(Protocol):
    """What a site needs of whatever is agreed on."""

    results: dict[str, bytes]

    @property
    def sequence(self) -> int: ...

    @property
    def next(self) -> Epoch | None: ...

    def execute(self, sequence: int, time: int, requests: tuple[Request, ...]) -> dict[str, bytes]: ...

    def position(self) -> Position: ...

    def encoded(self) -> bytes: ...

    def digest(self) -> bytes: ...

    def restored(self, encoded: bytes) -> Executing:
        """Another one, out of what `encoded` gave. Raises whatever it likes for what is none."""


_results: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)


def request(person: Signer, nonce: int, client: str, command: Command) -> Request:
    """Signed by the person whose wish it is."""
    id = f"{person.public}/{nonce}"
    return Request(id, client, msgspec.msgpack.encode(Signed(command, person.sign(_covered(id, command)))))


def valid(request: Request, verify: Verifier) -> bool:
    try:
        signed = _signed.decode(request.body)
    except msgspec.DecodeError:
        return False
    return verify(request.signer, _covered(request.id, signed.command), signed.signature)


def _covered(id: str, command: Command) -> bytes:
    return msgspec.msgpack.encode(("sim/command", id, command))


def command_of(request: Request) -> Command:
    """Of a valid request."""
    return _signed.decode(request.body).command


def result(encoded: bytes) -> Result:
    return _results.decode(encoded)


class Application(msgspec.Struct):
    """Deterministic: equal batches give equal states, and equal digests."""

    sequence: int
    time: int
    epoch: Epoch
    next: Epoch | None = None
    values: dict[str, str] = {}
    results: dict[str, bytes] = {}
    timers: list[int] = []
    fired: int = 0
    changes: int = 0
    """How many epochs were agreed on."""

    def execute(self, sequence: int, time: int, requests: tuple[Request, ...]) -> dict[str, bytes]:
        """The results of all `requests`: of those that were executed before, what they were then."""
        assert sequence == self.sequence + 1
        self.sequence, self.time = sequence, max(self.time, time)
        if self.next is not None and sequence >= self.next.since:
            self.epoch, self.next = self.next, None
        self.fired += sum(timer <= self.time for timer in self.timers)
        self.timers = [timer for timer in self.timers if timer > self.time]
        for one in requests:
            if one.id not in self.results:
                self.results[one.id] = msgspec.msgpack.encode(self._done(command_of(one)))
        return {one.id: self.results[one.id] for one in requests}

    def _done(self, command: Command) -> Result:
        if command.kind == "get":
            return self.values.get(command.key)
        if command.kind == "put":
            self.values[command.key] = command.value
            return True
        if command.kind == "cas":
            if self.values.get(command.key) != command.expected:
                return False
            self.values[command.key] = command.value
            return True
        if command.kind == "timer":
            self.timers.append(self.time + int(command.value))
            return True
        return self._plan(tuple(sorted(command.value.split(","))))

    def _plan(self, voters: tuple[str, ...]) -> bool:
        """One change in flight."""
        if self.next is not None or voters == self.epoch.voters:
            return False
        since = self.sequence + limits.MARGIN + 1
        self.next = Epoch(number=self.epoch.number + 1, since=since, voters=voters)
        self.changes += 1
        return True

    def position(self) -> Position:
        wanted = [*self.timers, *([self.time + _PUSH] if self.next is not None else [])]
        return Position(
            sequence=self.sequence,
            digest=self.digest(),
            due=min(wanted) if wanted else None,
            next=self.next,
        )

    def encoded(self) -> bytes:
        return msgspec.msgpack.encode(self)

    def digest(self) -> bytes:
        return hashlib.blake2b(self.encoded(), digest_size=32).digest()

    def restored(self, encoded: bytes) -> Application:
        return msgspec.msgpack.decode(encoded, type=Application)
