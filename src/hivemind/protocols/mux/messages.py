"""Messages that belong to no stream: those that wait to be sent, and the one that is coming in."""

from __future__ import annotations

from collections import deque

from hivemind.protocols.mux.events import Heard
from hivemind.protocols.mux.frame import (
    FRAGMENT,
    HEADER,
    Kind,
    decode_service,
    encode,
    encode_message,
)
from hivemind.protocols.mux.limits import Limits
from hivemind.protocols.mux.stream import LARGEST_MESSAGE
from hivemind.protocols.noise.cipher import Refused


class Messages:
    """Of one side. A message goes whole before the next one begins."""

    __slots__ = ("_at", "_bytes", "_limits", "_partial", "_queue", "dropped")

    def __init__(self, limits: Limits) -> None:
        self.dropped = 0
        """Messages that found the queue full."""
        self._limits = limits
        self._queue: deque[bytes] = deque()
        """Each as one frame, however long; of the first one as much has gone as `_at` says."""
        self._bytes, self._at = 0, HEADER
        self._partial = bytearray()

    def __bool__(self) -> bool:
        """Whether there is one to be sent."""
        return bool(self._queue)

    def put(self, service: str, message: bytes) -> bool:
        """False: it was dropped."""
        assert len(message) <= LARGEST_MESSAGE
        full = self._bytes + len(message) > self._limits.queued_bytes
        if full or len(self._queue) >= self._limits.queued_messages:
            self.dropped += 1
            return False
        whole = encode_message(service, message)
        self._queue.append(whole)
        self._bytes += len(whole)
        return True

    def next_frame(self) -> bytes:
        whole, at = self._queue[0], self._at
        end = at + FRAGMENT
        if end < len(whole):
            self._at = end
            return encode(Kind.MESSAGE, 1, whole[at:end])
        self._queue.popleft()
        self._at = HEADER
        self._bytes -= len(whole)
        return whole if at == HEADER else encode(Kind.MESSAGE, 0, whole[at:])

    def take(self, payload: bytes, *, more: bool) -> Heard | None:
        """The message that is whole now, if any. Raises `Refused`."""
        if len(self._partial) + len(payload) > LARGEST_MESSAGE + 64:
            raise Refused("a message is too long")
        if more or self._partial:
            self._partial += payload
            if more:
                return None
            payload = bytes(self._partial)
            self._partial.clear()
        return Heard(*decode_service(payload))

    def check(self) -> None:
        assert self._bytes == sum(map(len, self._queue))
        assert self._at == HEADER or self._queue, "what has partly gone is still there"
