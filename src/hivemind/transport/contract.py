"""Talking to the other nodes of the hive, each known by its public key.

There is at most one connection for each pair of nodes. Over it go messages, calls and streams, each for a named
service (`ledger`, `store`, `api`, …). Queues are bounded: a message that finds its queue full is dropped, a stream
waits. Nothing here decides anything: who may talk is what `allowed` says, who is alive is for others to judge.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

Address = tuple[str, int]
"""Host (an IP address) and port."""


class Stream(Protocol):
    """Both ways, in order, whole messages, with back-pressure."""

    peer: str

    async def send(self, message: bytes) -> None:
        """At most 1 MiB. Raises `Unavailable` when the stream is broken."""

    async def receive(self) -> bytes | None:
        """None: the other side has finished. Raises `Unavailable` when the stream is broken."""

    async def finish(self) -> None:
        """This side sends no more."""

    async def close(self) -> None:
        """Breaks it for both sides, unless both have finished. Twice is once."""


class Contact(Stream, Protocol):
    """The stream of a first contact: one side, or both, are not of the same hive yet. `peer` is who the other side
    proved to be; nothing else is known of it."""

    binding: bytes
    """The hash of the handshake, the same on both sides and for no other connection: what is signed over it cannot
    be used on another one."""


class Peers(Protocol):
    node: str
    """Its own id."""

    @property
    def address(self) -> Address:
        """Where it listens."""

    def enter(self, hive: str, secret: bytes | None) -> None:
        """From now on it talks to nodes of this hive only: what was connected for another one is cut. `secret`: 32
        bytes that who makes a first contact must have; None: nobody may."""

    def review(self) -> None:
        """Who belongs to the hive has changed: cuts the connections of those who do not any more."""

    async def contact(self, address: Address, hive: str, secret: bytes, *, timeout: float) -> Contact:
        """A first contact with whoever listens there, for that hive, which need not be one's own. Raises
        `Unavailable` when nobody is there, or not of that hive, or with another secret (that looks the same)."""

    def welcome(self, handler: Callable[[Contact], Awaitable[None]]) -> Callable[[], None]:
        """Who answers first contacts: runs as a task for each, a few at a time; the contact is closed when it
        ends."""

    def learn(self, node: str, addresses: Sequence[Address]) -> None:
        """Where a node may be reached, the likeliest first; replaces what was known. None: they are forgotten."""

    @property
    def connected(self) -> frozenset[str]: ...

    def on_connection(self, callback: Callable[[str, bool], None]) -> Callable[[], None]:
        """Called with the node and whether it is connected now; returns the undo."""

    def send(self, to: str, service: str, message: bytes) -> bool:
        """At most 1 MiB, as questions and answers. Best effort; dials when there is no connection. In order as long
        as the connection lasts. False: dropped at once (the queue is full, nobody knows an address, it does not
        belong to the hive)."""

    def on_message(self, service: str, handler: Callable[[str, bytes], None]) -> Callable[[], None]:
        """`handler(sender, message)`, in the loop's turn; at most one handler for each service."""

    async def call(self, to: str, service: str, message: bytes, *, timeout: float) -> bytes:
        """One answer to one question. Raises `Unavailable` when there is none in time, or the error that the other
        side raised, by its code."""

    def answer(
        self, service: str, handler: Callable[[str, bytes], Awaitable[bytes]]
    ) -> Callable[[], None]: ...

    async def open(self, to: str, service: str, *, timeout: float) -> Stream:
        """Raises `Unavailable` when there is no way there, `NotFound` when nobody serves that there."""

    def accept(self, service: str, handler: Callable[[Stream], Awaitable[None]]) -> Callable[[], None]:
        """`handler` runs as a task; the stream is closed when it ends."""


class Datagrams(Protocol):
    """Small messages that may be lost, doubled and overtaken: signed by their sender, sealed for the hive."""

    node: str

    @property
    def address(self) -> Address:
        """Where it listens."""

    def enter(self, hive: str, secret: bytes | None) -> None:
        """For which hive it seals and signs from now on; `secret`: the hive's 32 bytes for discovery. None, as at
        first: nothing is sent, and nothing that comes can be read."""

    def send(self, to: Address, kind: str, message: bytes) -> None:
        """At most 1,200 bytes. `kind` as `swim`, `dht`."""

    def on_datagram(self, kind: str, handler: Callable[[Address, str, bytes], None]) -> Callable[[], None]:
        """`handler(source, sender, message)`; what is not sealed for this hive, or not signed by whom it names, is
        dropped before. Whether the sender belongs to the hive is for the handler to judge."""
