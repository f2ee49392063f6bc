"""What the engine sends of standard output and error: interleaved in frames, or plain from a terminal.

A frame is one byte for the stream (1 or 2), three of nothing, four for the length (big end first) and the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from hivemind.errors import Unavailable

Stream = Literal["stdout", "stderr"]
_HEAD = 8
_LARGEST = 64 << 20
_STREAMS: dict[int, Stream] = {0: "stdout", 1: "stdout", 2: "stderr"}


class Frames:
    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Stream, bytes]]:
        """The frames that are whole by now. Raises `Unavailable` when these are no frames."""
        self._rest += data
        while len(self._rest) >= _HEAD:
            stream, size = self._rest[0], int.from_bytes(self._rest[4:_HEAD], "big")
            if stream not in _STREAMS or size > _LARGEST:
                raise Unavailable("docker sent output that cannot be understood")
            if len(self._rest) < _HEAD + size:
                return
            content = bytes(self._rest[_HEAD : _HEAD + size])
            del self._rest[: _HEAD + size]
            yield _STREAMS[stream], content


class Plain:
    """The same for a terminal, where everything is output."""

    def feed(self, data: bytes) -> Iterator[tuple[Stream, bytes]]:
        if data:
            yield "stdout", data
