"""One side of one stream: what it still has to send, what has come, and how much more may come."""

from __future__ import annotations

from collections import deque

from hivemind.protocols.mux.frame import FRAGMENT, Kind
from hivemind.protocols.noise.cipher import Refused

LARGEST_MESSAGE = 1 << 20
WINDOW = 256 * 1024
"""Bytes that may be under way, or wait to be read, before the sender waits."""
_PER_FRAME = 32
"""What a frame counts beyond its bytes, so that empty ones are not free."""


class Stream:
    """A call is a stream with one message each way."""

    __slots__ = (
        "_allowance",
        "_at",
        "_credit",
        "_finish_sent",
        "_inbox",
        "_outbox",
        "_partial",
        "_waiting",
        "accepted",
        "call",
        "finished",
        "finishing",
        "id",
        "mine",
        "outgoing",
        "service",
    )

    def __init__(self, id: int, service: str, *, call: bool, mine: bool) -> None:
        self.id, self.service, self.call, self.mine = id, service, call, mine
        self.accepted = False
        self.finishing = False
        """This side will say no more."""
        self.finished = False
        """The other side says no more."""
        self.outgoing = 0
        """Bytes that wait to be sent."""
        self._finish_sent = False
        self._outbox: deque[bytes] = deque()
        self._at = 0
        self._credit = WINDOW
        self._inbox: deque[bytes] = deque()
        self._waiting = 0
        self._partial = bytearray()
        self._allowance = WINDOW

    # What goes out.

    def write(self, message: bytes) -> None:
        self._outbox.append(message)
        self.outgoing += len(message) + _PER_FRAME

    def finish(self) -> None:
        self.finishing = True

    @property
    def full(self) -> bool:
        return self.outgoing >= WINDOW

    @property
    def ready(self) -> bool:
        """It has a frame to send, and may."""
        if self._outbox:
            return self._credit > _PER_FRAME
        return self.finishing and not self._finish_sent and not self.call

    @property
    def done(self) -> bool:
        """Nothing more will be sent."""
        return self.finishing and not self._outbox and (self._finish_sent or self.call)

    def next_frame(self) -> tuple[Kind, bytes]:
        if not self._outbox:
            self._finish_sent = True
            return Kind.FINISH, b""
        message = self._outbox[0]
        end = min(len(message), self._at + min(FRAGMENT, self._credit - _PER_FRAME))
        payload = message[self._at : end]
        self._credit -= len(payload) + _PER_FRAME
        self.outgoing -= len(payload)
        if end < len(message):
            self._at = end
            return Kind.DATA, payload
        self._outbox.popleft()
        self.outgoing -= _PER_FRAME
        self._at = 0
        return Kind.LAST, payload

    def credited(self, amount: int) -> None:
        self._credit += amount
        if self._credit > WINDOW:
            raise Refused("more credit came than was used")

    # What comes in.

    def take(self, payload: bytes, last: bool) -> bytes | None:
        """The message that is whole now, if any. Of a stream it goes to the inbox, too."""
        self._allowance -= len(payload) + _PER_FRAME
        if self._allowance < 0 or self.finished:
            raise Refused("a stream says more than it may")
        if len(self._partial) + len(payload) > LARGEST_MESSAGE:
            raise Refused("a message is too long")
        self._partial += payload
        if not last:
            return None
        message = bytes(self._partial)
        self._partial.clear()
        if not self.call:
            self._inbox.append(message)
            self._waiting += len(message) + _PER_FRAME
        return message

    def read(self) -> bytes | None:
        if not self._inbox:
            return None
        message = self._inbox.popleft()
        self._waiting -= len(message) + _PER_FRAME
        return message

    @property
    def readable(self) -> bool:
        return bool(self._inbox)

    @property
    def buffered(self) -> int:
        return self._waiting + len(self._partial)

    def grant(self) -> int:
        """How much more may come than was told, once that is worth a frame: everything that does not wait to be
        read. What has come of a message that is not whole counts as read, or a long one would never become whole."""
        amount = WINDOW - self._allowance - self._waiting
        if self.finished or amount < WINDOW // 2:
            return 0
        self._allowance += amount
        return amount
