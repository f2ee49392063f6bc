"""Calls over one HTTP/2 connection to a unix socket, the way gRPC makes them.

A connection that broke is made anew by the next call, which waits a while for a peer that is being restarted. What
was under way when it broke raises `Unavailable`: whether it was done is for the caller to find out.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from hivemind.errors import Conflict, HivemindError, Invalid, NotFound, Unavailable, Unsupported

_PREFIX = 5
"""Bytes before each message: a flag and its length."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_REFUSALS: dict[int, type[HivemindError]] = {
    3: Invalid,
    5: NotFound,
    6: Conflict,
    9: Conflict,
    10: Conflict,
    12: Unsupported,
}
"""By gRPC status; all others mean that it may work later."""


class Channel:
    """`patience`: seconds to wait for a peer that does not listen; `timeout`: for its answer to one call."""

    def __init__(self, path: str, *, patience: float = 10.0, timeout: float = 120.0) -> None:
        self._path = path
        self.patience = patience
        self._timeout = timeout
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """As far as is known: a peer that went away is noticed at once, one that came back with the next call."""
        return self._connection is not None and not self._connection.broken

    async def call(
        self, method: str, request: bytes, metadata: Mapping[str, str], *, patient: bool = False
    ) -> bytes:
        """One message there, one back; `patient`: however long it takes. Raises what the peer's refusal means, or
        `Unavailable`."""
        try:
            async with asyncio.timeout(None if patient else self._timeout):
                async with aclosing(self.exchange(method, _just(request), metadata)) as answers:
                    async for answer in answers:
                        return answer
        except TimeoutError:
            raise Unavailable(f"containerd did not answer for {self._timeout:.0f} seconds") from None
        raise Unavailable(f"containerd ended {method} without an answer")

    async def exchange(
        self, method: str, requests: AsyncIterable[bytes], metadata: Mapping[str, str]
    ) -> AsyncGenerator[bytes, None]:
        """All `requests` there, as fast as the peer takes them, then its answers until it ends the call."""
        connection = await self._connected()
        stream = connection.begin(method, metadata)
        try:
            async for request in requests:
                await stream.send(request)
            stream.finish()
            async for message in stream.messages():
                yield message
        finally:
            stream.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def peer(self) -> int:
        """Process id of who listens there; 0 when it is in another process namespace."""
        return (await self._connected()).peer()

    async def _connected(self) -> _Connection:
        async with self._connecting:
            if self._connection is None or self._connection.broken:
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self.patience, _FIRST_PAUSE
        while True:
            try:
                _, connection = await loop.create_unix_connection(_Connection, self._path)
                return connection
            except OSError as error:
                if loop.time() + pause > deadline:
                    raise Unavailable(
                        f"containerd does not answer at {self._path}: {error.strerror or error}",
                        hint="start it (systemctl start containerd), or name its socket with --containerd-address",
                    ) from None
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


async def _just(request: bytes) -> AsyncIterator[bytes]:
    yield request


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                validate_inbound_headers=False,
            )
        )
        self._transport: asyncio.Transport
        self._streams: dict[int, Stream] = {}
        self._writable = asyncio.Event()
        self._writable.set()
        self.broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            self.close()
            return
        for event in events:
            self._heard(event)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.broken = True
        self._writable.set()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.lost()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def begin(self, method: str, metadata: Mapping[str, str]) -> Stream:
        id = self._h2.get_next_available_stream_id()
        self._h2.send_headers(
            id,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", method),
                (":authority", "localhost"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                *metadata.items(),
            ],
        )
        stream = self._streams[id] = Stream(self, id)
        return stream

    async def send(self, id: int, data: bytes, stream: Stream) -> None:
        """Waits for room in the peer's window and in the socket."""
        view = memoryview(data)
        while view:
            await self._writable.wait()
            if stream.ended:
                return
            room = min(self._h2.local_flow_control_window(id), self._h2.max_outbound_frame_size)
            if room <= 0:
                await stream.room()
                continue
            self._h2.send_data(id, bytes(view[:room]))
            view = view[room:]
            self.flush()

    def finish(self, id: int) -> None:
        self._h2.end_stream(id)
        self.flush()

    def drop(self, id: int, *, reset: bool) -> None:
        if self._streams.pop(id, None) is not None and reset and not self.broken:
            try:
                self._h2.reset_stream(id, ErrorCodes.CANCEL)
            except ProtocolError:  # the peer closed it just now
                pass
            self.flush()

    def flush(self) -> None:
        if data := self._h2.data_to_send():
            self._transport.write(data)

    def close(self) -> None:
        self.broken = True
        self._transport.abort()

    def peer(self) -> int:
        sock = self._transport.get_extra_info("socket")
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)

    def _heard(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self.close()
        elif isinstance(event, WindowUpdated):
            for each in self._streams.values():
                each.wake()
        elif isinstance(
            event, DataReceived | ResponseReceived | TrailersReceived | StreamEnded | StreamReset
        ):
            if isinstance(event, DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if stream := self._streams.get(event.stream_id):
                stream.heard(event)


class Stream:
    """One call."""

    def __init__(self, connection: _Connection, id: int) -> None:
        self._connection = connection
        self._id = id
        self._buffer = bytearray()
        self._messages: list[bytes] = []
        self._news = asyncio.Event()
        self._status: int | None = None
        self._said = ""
        self.ended = False
        self._broken = False

    async def send(self, message: bytes) -> None:
        await self._connection.send(
            self._id, b"\0" + len(message).to_bytes(_PREFIX - 1, "big") + message, self
        )

    def finish(self) -> None:
        """Nothing more will be sent."""
        if not self.ended:
            self._connection.finish(self._id)

    async def messages(self) -> AsyncIterator[bytes]:
        while True:
            while self._messages:
                yield self._messages.pop(0)
            if self.ended:
                break
            self._news.clear()
            await self._news.wait()
        if self._status != 0:
            self._refuse()

    def close(self) -> None:
        self._connection.drop(self._id, reset=not self.ended)

    async def room(self) -> None:
        self._news.clear()
        await self._news.wait()

    # -- what the connection tells

    def wake(self) -> None:
        self._news.set()

    def heard(
        self, event: DataReceived | ResponseReceived | TrailersReceived | StreamEnded | StreamReset
    ) -> None:
        if isinstance(event, DataReceived):
            self._received(event.data)
        elif isinstance(event, ResponseReceived | TrailersReceived):
            self._headers(event.headers)
        else:
            self._end()

    def lost(self) -> None:
        self._broken = True
        self._end()

    def _received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= _PREFIX:
            end = _PREFIX + int.from_bytes(self._buffer[1:_PREFIX], "big")
            if len(self._buffer) < end:
                break
            self._messages.append(bytes(self._buffer[_PREFIX:end]))
            del self._buffer[:end]
        self._news.set()

    def _headers(self, headers: Iterable[tuple[Any, Any]]) -> None:
        """Of the answer or after it: with gRPC, the verdict may come in either."""
        told = dict(headers)
        if "grpc-status" in told:
            self._status = int(told["grpc-status"])
            self._said = unquote(told.get("grpc-message", ""))

    def _end(self) -> None:
        self.ended = True
        self._news.set()

    def _refuse(self) -> NoReturn:
        if self._broken or self._status is None:
            raise Unavailable("the connection to containerd broke off")
        raise _REFUSALS.get(self._status, Unavailable)(self._said or f"containerd refused: {self._status}")
