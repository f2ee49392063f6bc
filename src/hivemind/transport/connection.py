"""One TCP connection: it pumps a channel and a multiplexer, and knows nobody but its own two ends.

After the handshake the side that called says hello, and the other one either says hello, too, or that its own call to
the same node is to be preferred (see `peers`). Only then anything else is said. So whoever is called has proof that
the caller is there now, and whoever calls loses nothing to a connection that is not going to be used.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import msgspec

from hivemind.errors import Unavailable
from hivemind.protocols.mux.limits import Limits
from hivemind.protocols.mux.machine import Mux
from hivemind.protocols.noise.channel import Channel
from hivemind.protocols.noise.cipher import Refused
from hivemind.transport.contract import Address
from hivemind.transport.conversations import Conversations
from hivemind.transport.services import Services
from hivemind.transport.stream import ChannelStream

_logger = logging.getLogger(__name__)
_HELLO = b"\x01"
_MINE = b"\x02"
_BATCH = 64 * 1024
"""Bytes that one turn of the loop writes to one connection."""


def _stay() -> None:
    """A connection of nodes outlives its streams."""


class Timing(msgspec.Struct, frozen=True):
    """Seconds."""

    handshake: float = 5.0
    """From the first byte to the end of the greeting, however it trickles."""
    connect: float = 3.0
    stalled: float = 30.0
    """How long the other side may take in nothing of what is to be sent."""
    linger: float = 30.0
    """For what is still to be sent when a connection is closed on purpose."""


class Owner(Protocol):
    """Who decides about connections."""

    def arrived(self, connection: Connection) -> None:
        """Somebody called, and has said nothing yet."""

    def services(self, connection: Connection) -> Services:
        """Which handlers the other side reaches."""

    def permits(self, connection: Connection) -> bool:
        """The other side has named itself: whether it may go on."""

    def greeted(self, connection: Connection) -> bool:
        """The other side called and is there: whether this connection is taken; if not, an own one is preferred."""

    def opened(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...


class Connection(asyncio.BufferedProtocol):
    """`arrivals` is where it reads into, shared by all connections of a loop: what came is taken out within the turn.
    Without it asyncio asks for a quarter of a megabyte for each read, which costs more than all that is done with a
    short message."""

    __slots__ = (
        "_arrivals",
        "_channel",
        "_draining",
        "_flushing",
        "_greeting",
        "_limits",
        "_loop",
        "_mux",
        "_owner",
        "_paused_at",
        "_permitted",
        "_settled",
        "_talk",
        "_timer",
        "_timing",
        "_transport",
        "dialed",
        "mine_preferred",
        "over",
        "reason",
        "source",
    )

    def __init__(
        self,
        owner: Owner,
        channel: Channel,
        *,
        arrivals: memoryview,
        dialed: bool,
        limits: Limits,
        timing: Timing,
    ) -> None:
        self.dialed = dialed
        self.over = False
        self.reason = "the other side closed the connection"
        self.mine_preferred = False
        """The other side has a call of its own under way to here."""
        self.source: Address = ("", 0)
        self._owner, self._channel, self._limits, self._timing = owner, channel, limits, timing
        self._arrivals = arrivals
        self._loop = asyncio.get_running_loop()
        self._settled = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._mux: Mux | None = None
        self._greeting = self._permitted = self._flushing = self._draining = False
        self._paused_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._talk: Conversations | None = None

    # What its owner and its streams ask.

    @property
    def peer(self) -> str:
        return self._channel.peer

    @property
    def first_contact(self) -> bool:
        return self._channel.first_contact

    @property
    def connected(self) -> bool:
        """There is a transport below; not that anybody has proved anything."""
        return self._transport is not None and not self.over

    @property
    def busy(self) -> bool:
        """Streams are open."""
        return self._talk is not None and self._talk.busy

    @property
    def lost_messages(self) -> int:
        """Dropped here or because the queue was full."""
        return self._talk.dropped + self._mux.dropped if self._talk and self._mux else 0

    async def settled(self) -> None:
        """Waits until it is open, or over."""
        await self._settled.wait()

    def send(self, service: str, message: bytes) -> bool:
        return self._talk is not None and not self.over and self._talk.send(service, message)

    async def call(self, service: str, question: bytes) -> bytes:
        return await self._live().call(service, question)

    async def open(self, service: str) -> ChannelStream:
        return await self._live().open(service)

    def probe(self, within: float) -> None:
        """There is doubt whether the other side is there."""
        if self._mux:
            self._mux.probe(self._now(), int(within * 1e6))
            self.flush()
            self._arm()

    def drain(self) -> None:
        """Closes it once what is to be sent was sent."""
        if not self.over and not self._draining:
            self._draining = True
            self._loop.call_later(self._timing.linger, self.abort, "it was closed")
            self.flush()

    def hang_up(self, reason: str) -> None:
        """What has been said already still goes out; nothing comes in any more."""
        if not self.over and self._mux and self._transport:
            self._pump()
            self._transport.close()
            self._loop.call_later(self._timing.linger, self._transport.abort)
            self._end(reason)
        else:
            self.abort(reason)

    def abort(self, reason: str) -> None:
        if not self.over:
            if self._transport:
                self._transport.abort()
            self._end(reason)

    def flush(self) -> None:
        if not self._flushing and not self.over:
            self._flushing = True
            self._loop.call_soon(self._pump)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):  # what is carried by a third node comes from nowhere
            self.source = peer[0], peer[1]
        if self.over:
            transport.abort()
            return
        self._timer = self._loop.call_later(self._timing.handshake, self._too_slow)
        transport.write(self._channel.outgoing())
        if not self.dialed:
            self._owner.arrived(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._arrivals

    def buffer_updated(self, nbytes: int) -> None:
        if self.over:
            return
        try:
            records = self._channel.receive(bytes(self._arrivals[:nbytes]))
            if self._mux is None:
                self._permit()
                self._greet()
            now = self._now()
            for record in records:
                self._take(record, now)
        except Refused as error:
            _logger.debug("connection with %s: %s", self._whom(), error.message)
            self.abort(error.message)
            return
        if self._mux and self._talk:
            self._hand_out(self._mux, self._talk)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over:
            self._end(str(error) if error else self.reason)

    def pause_writing(self) -> None:
        self._paused_at = self._loop.time()
        if self._mux:
            self._arm()

    def resume_writing(self) -> None:
        self._paused_at = None
        self.flush()

    # Beginning.

    def _permit(self) -> None:
        """Before anything is answered that only a node of the hive may know."""
        if self._channel.peer and not self._permitted:
            if not self._owner.permits(self):
                raise Refused("that node does not belong to this hive")
            self._permitted = True

    def _greet(self) -> None:
        assert self._transport is not None
        if self._greeting:
            return
        if answer := self._channel.outgoing():
            self._transport.write(answer)
        if self.dialed and self._channel.established:
            self._greeting = True
            self._transport.write(self._channel.seal(_HELLO))

    def _take(self, record: bytes, now: int) -> None:
        if self.over:
            return
        if self._mux:
            self._mux.receive(record, now)
        elif self.dialed and record == _MINE:
            self.mine_preferred = True
            self.abort("the other side's own call is preferred")
        elif record != _HELLO:
            raise Refused("the other side does not say hello")
        elif self.dialed or self._owner.greeted(self):
            self._open()
        elif not self.over:
            assert self._transport is not None
            self._transport.write(self._channel.seal(_MINE))
            self._transport.close()
            self._end("the own call is preferred")

    def _open(self) -> None:
        assert self._transport is not None
        if not self.dialed:
            self._greeting = True
            self._transport.write(self._channel.seal(_HELLO))
        if self._timer:  # Of the handshake.
            self._timer.cancel()
            self._timer = None
        mux = self._mux = Mux(initiator=self.dialed, now=self._now(), limits=self._limits)
        quiet = self.drain if self.first_contact else _stay
        services = self._owner.services(self)
        self._talk = Conversations(mux, services, self.peer, self._channel.binding, self.flush, quiet)
        self._arm()
        self._settled.set()
        self._owner.opened(self)

    def _too_slow(self) -> None:
        self._timer = None
        self.abort("the handshake took too long")

    # Pumping.

    def _now(self) -> int:
        return int(self._loop.time() * 1e6)

    def _live(self) -> Conversations:
        if self._talk is None or self.over:
            raise self._lost()
        return self._talk

    def _lost(self) -> Unavailable:
        return Unavailable(
            f"the connection with {self._whom()} broke: {self.reason}", hint="it is made again when needed"
        )

    def _whom(self) -> str:
        return f"node {self.peer[:8]}" if self.peer else f"{self.source[0]}:{self.source[1]}"

    def _hand_out(self, mux: Mux, talk: Conversations) -> None:
        """What came. What is said to it at once goes out at once, rather than in another turn of the loop."""
        scheduled, self._flushing = self._flushing, True
        talk.happen()
        self._flushing = scheduled
        if not scheduled and not self.over and (self._draining or not mux.idle):
            self._pump()

    def _pump(self) -> None:
        self._flushing = False
        if self._mux is None or self._transport is None or self.over:
            return
        records: list[bytes] = []
        size = 0
        while size < _BATCH and self._paused_at is None:
            if (frame := self._mux.next_frame()) is None:
                break
            records.append(self._channel.seal(frame))
            size += len(frame)
        if records:
            self._transport.write(b"".join(records))
        if self._talk:
            self._talk.happen()
        if size >= _BATCH and self._paused_at is None:
            self.flush()
        elif self._draining and self._mux.settled:
            self._transport.close()

    def _arm(self) -> None:
        """One timer, which is late rather than set anew for everything that comes."""
        due = self._due()
        if self._timer:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)

    def _due(self) -> float:
        assert self._mux is not None
        due = self._mux.deadline() / 1e6
        if self._paused_at is not None:
            due = min(due, self._paused_at + self._timing.stalled)
        return due

    def _tick(self) -> None:
        self._timer = None
        if self._mux is None or self.over:
            return
        if not self._mux.tick(self._now()):
            self.abort("the other side says nothing any more")
        elif self._paused_at is not None and self._loop.time() >= self._paused_at + self._timing.stalled:
            self.abort("the other side takes in nothing any more")
        else:
            self._arm()
            self.flush()

    def _end(self, reason: str) -> None:
        self.over, self.reason = True, reason
        self._settled.set()
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._talk:
            self._talk.break_off(self._lost())
        self._owner.closed(self)
