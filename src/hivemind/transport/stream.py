"""Streams over a connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hivemind.errors import HivemindError, TooLarge, Unavailable
from hivemind.protocols.mux.frame import Failure
from hivemind.protocols.mux.machine import Mux
from hivemind.protocols.mux.stream import LARGEST_MESSAGE

if TYPE_CHECKING:
    from hivemind.transport.conversations import Conversations

_CLOSED = Failure("unavailable", "the other side closed the stream", "open another one if it is still needed")


def too_large(what: str, size: int, largest: int) -> TooLarge:
    return TooLarge(f"{what} has {size:,} bytes", hint=f"at most {largest:,}: send it in parts")


def measured(message: bytes) -> bytes:
    if len(message) > LARGEST_MESSAGE:
        raise too_large("a message", len(message), LARGEST_MESSAGE)
    return message


class ChannelStream:
    """Keeps `contract.Stream`, and `contract.Contact` when it is the one of a first contact."""

    __slots__ = ("_broken", "_changed", "_conversations", "_finishing", "_mux", "_number", "binding", "peer")

    def __init__(self, conversations: Conversations, mux: Mux, number: int) -> None:
        self.peer = conversations.peer
        self.binding = conversations.binding
        self._conversations, self._mux, self._number = conversations, mux, number
        self._changed = asyncio.Event()
        self._broken: HivemindError | None = None
        self._finishing = False

    async def send(self, message: bytes) -> None:
        measured(message)
        while True:
            if self._broken:
                raise self._broken
            stream = self._mux.get(self._number)
            if self._finishing or stream is None:
                raise Unavailable("this side of the stream has finished")
            if not stream.full:
                break
            self._changed.clear()
            await self._changed.wait()
        self._mux.write(self._number, message)
        self._conversations.flush()

    async def receive(self) -> bytes | None:
        while True:
            if self._broken:
                raise self._broken
            stream = self._mux.get(self._number)
            if stream is None:
                return None
            if stream.readable:
                message = self._mux.read(self._number)
                self._conversations.flush()
                return message
            if stream.finished:
                return None
            self._changed.clear()
            await self._changed.wait()

    async def finish(self) -> None:
        if self._broken:
            raise self._broken
        self._finishing = True
        self._mux.finish(self._number)
        self._conversations.flush()

    async def close(self) -> None:
        stream = self._mux.get(self._number)
        if stream and stream.finished and self._finishing:
            while self._mux.get(self._number) and self._mux.read(self._number) is not None:
                pass
        elif stream:
            self._mux.fail(self._number, _CLOSED)
            self.break_off(Unavailable("this stream was closed"))
        self._conversations.ended(self._number)

    async def accepted(self) -> None:
        """Waits until the other side has taken it. Raises what it said instead."""
        while not self._broken and (stream := self._mux.get(self._number)) and not stream.accepted:
            self._changed.clear()
            await self._changed.wait()
        if self._broken:
            raise self._broken

    def look_again(self) -> None:
        self._changed.set()

    def break_off(self, error: HivemindError) -> None:
        """What has come whole, from a side that has finished, can still be read when this one has, too."""
        stream = self._mux.get(self._number)
        if not (self._finishing and (stream is None or stream.finished)):
            self._broken = self._broken or error
        self._changed.set()
