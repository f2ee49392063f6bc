"""A WebSocket (RFC 6455) to a daemon, for threads: one may read while others write."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from types import TracebackType

import msgspec
import wsproto
from wsproto import events
from wsproto.utilities import ProtocolError

from hivemind.client.connection import Connection, target
from hivemind.errors import Forbidden, HivemindError, TimedOut, Unavailable
from hivemind.model.answers import Problem

_READ = 1 << 16


class WebSocket:
    """Opened by its constructor, which raises what the daemon refused the handshake with."""

    def __init__(self, connection: Connection, path: str, query: Mapping[str, object] | None = None) -> None:
        self._socket = connection.dial()
        self._endpoint = connection.endpoint
        self._protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._lock = threading.Lock()
        self._arrived: deque[bytes] = deque()
        self._part: list[bytes] = []
        self._refusal: list[bytes] | None = None
        self._status = 0
        self._open = False
        self._ended = False
        self._failure: HivemindError | None = None
        headers = [(name.encode(), value.encode()) for name, value in connection.headers().items()]
        try:
            self._send(
                events.Request(host=connection.authority, target=target(path, query), extra_headers=headers)
            )
            while not self._open and not self._ended:
                self._pump()
            if self._failure:
                raise self._failure
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For `select`. Check `pending` first: a message may already be here."""
        return self._socket.fileno()

    @property
    def pending(self) -> bool:
        return bool(self._arrived) or self._ended

    def receive(self) -> bytes | None:
        """The next message, text as UTF-8; None once the daemon closed in good order, else it raises."""
        while not self._arrived:
            if self._failure:
                raise self._failure
            if self._ended:
                return None
            self._pump()
        return self._arrived.popleft()

    def send(self, data: bytes | str) -> None:
        self._send(events.TextMessage(data=data) if isinstance(data, str) else events.BytesMessage(data=data))

    def _send(self, event: events.Event) -> None:
        with self._lock:
            try:
                self._socket.sendall(self._protocol.send(event))
            except (OSError, ProtocolError) as error:
                raise Unavailable(
                    f"the connection to {self._endpoint} broke off: {error}", hint="ask again"
                ) from None

    def _pump(self) -> None:
        try:
            data = self._socket.recv(_READ)
        except TimeoutError:
            raise TimedOut(f"the daemon at {self._endpoint} fell silent", hint="ask again") from None
        except OSError as error:
            raise Unavailable(
                f"the connection to {self._endpoint} broke off: {error}", hint="ask again"
            ) from None
        try:
            with self._lock:
                self._protocol.receive_data(data or None)
                happened = list(self._protocol.events())
        except ProtocolError as error:
            raise Unavailable(
                f"the daemon's answer makes no sense: {error}", hint="check the endpoint"
            ) from None
        for event in happened:
            self._take(event)
        if not data and not self._ended:
            self._end(Unavailable(f"the connection to {self._endpoint} broke off", hint="ask again"))

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.AcceptConnection):
            self._open = True
        elif isinstance(event, events.TextMessage | events.BytesMessage):
            data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
            self._part.append(data)
            if event.message_finished:
                self._arrived.append(b"".join(self._part))
                self._part.clear()
        elif isinstance(event, events.Ping):
            self._send(event.response())
        elif isinstance(event, events.RejectConnection):
            self._refusal, self._status = [], event.status_code
            if not event.has_body:
                self._end(_refused(event.status_code, b""))
        elif isinstance(event, events.RejectData) and self._refusal is not None:
            self._refusal.append(bytes(event.data))
            if event.body_finished:
                self._end(_refused(self._status, b"".join(self._refusal)))
        elif isinstance(event, events.CloseConnection):
            self._end(_farewell(event.code, event.reason or ""))

    def _end(self, failure: HivemindError | None) -> None:
        self._ended, self._failure = True, failure

    def close(self) -> None:
        """At once, without waiting for the daemon's farewell."""
        try:
            if self._open and not self._ended:
                self._send(events.CloseConnection(code=1000))
        except Unavailable:
            pass  # it is gone already, which is what was wanted
        finally:
            self._ended = True
            self._socket.close()

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _refused(status: int, body: bytes) -> HivemindError:
    try:
        return msgspec.json.decode(body, type=Problem).error()
    except msgspec.DecodeError:
        return Unavailable(
            f"what answered with status {status} is not a Hivemind daemon", hint="check the endpoint"
        )


def _farewell(code: int, reason: str) -> HivemindError | None:
    if code in (1000, 1001):
        return None
    if code == 1008:
        return Forbidden(reason or "the daemon ended the stream", hint="ask an administrator for a new token")
    if code == 1012:
        return Unavailable("the daemon is stopping", hint="ask again once it is back")
    return Unavailable(f"the daemon closed the stream: {reason or code}", hint="ask again")
