"""HTTP/1.1 with a daemon, over its unix socket, TCP or TLS. Failures become Hivemind's errors."""

from __future__ import annotations

import http.client
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import msgspec

from hivemind.errors import Forbidden, HivemindError, Invalid, TimedOut, Unavailable, from_code
from hivemind.model.answers import PROBLEM_FORMAT, Problem

if TYPE_CHECKING:
    import ssl

DEFAULT_ENDPOINT = "unix:///run/hivemind/hivemind.sock"

Body = bytes | Iterable[bytes] | None


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes


class Connection:
    """Where a daemon is and how to speak to it. Keeps idle connections for later calls; safe for threads."""

    def __init__(self, endpoint: str, *, token: str = "", ca: str = "", timeout: float = 60.0) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("unix", "http", "https") or not (
            parts.path if parts.scheme == "unix" else parts.hostname
        ):
            raise Invalid(
                f"{endpoint!r} is not an endpoint",
                hint=f"write it like {DEFAULT_ENDPOINT} or https://node-1:3000",
            )
        self.endpoint = endpoint
        self.scheme = parts.scheme
        self.path = parts.path
        self.host = parts.hostname or "localhost"
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.token = token
        self.timeout = timeout
        self._ca = ca
        self._tls: ssl.SSLContext | None = None
        self._idle: list[http.client.HTTPConnection] = []

    @property
    def authority(self) -> str:
        """The Host header."""
        if self.scheme == "unix":
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Asks and reads the whole answer. Raises the error that the daemon names."""
        with self.open(method, path, query=query, body=body, headers=headers) as (connection, response):
            with self._explained():
                content = response.read()
            answer = Answer(response.status, response.headers, content)
            if not response.will_close:
                self._idle.append(connection)
        return answer

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[http.client.HTTPConnection, http.client.HTTPResponse]]:
        """Asks and hands over the answer's head, its body still to be read. A bad status raises."""
        sent = {"Accept": "*/*", **self.headers(), **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        if method != "GET":
            sent.setdefault("Idempotency-Key", secrets.token_hex(16))
        connection, response = self._exchange(method, target(path, query), body, sent)
        try:
            if response.status >= 400:
                with self._explained():
                    raise _error(response.status, response.headers, response.read())
            yield connection, response
        finally:
            if connection not in self._idle:
                response.close()
                connection.close()

    def _exchange(
        self, method: str, url: str, body: Body, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        if (body is None or isinstance(body, bytes)) and self._idle:
            # The daemon may have closed a kept connection meanwhile. Asking once more is safe: every write
            # carries an Idempotency-Key.
            kept = self._idle.pop()
            try:
                kept.request(method, url, body, dict(headers))
                return kept, kept.getresponse()
            except (OSError, http.client.HTTPException):
                kept.close()
        connection = self._fresh()
        with self._explained():
            try:
                connection.connect()
                try:
                    connection.request(method, url, body, dict(headers))
                except BrokenPipeError:
                    pass  # refused before all was sent: the answer that says why is waiting
                return connection, connection.getresponse()
            except BaseException:
                connection.close()
                raise

    def socket(self) -> socket.socket:
        """A new raw connection, for what is not plain HTTP."""
        connection = self._fresh()
        with self._explained():
            connection.connect()
        assert connection.sock is not None
        return connection.sock

    def _fresh(self) -> http.client.HTTPConnection:
        if self.scheme == "unix":
            return _UnixConnection(self.path, self.timeout)
        if self.scheme == "https":
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=self.timeout, context=self._trust()
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            import ssl

            try:
                self._tls = ssl.create_default_context(cafile=self._ca or None)
            except OSError as error:
                raise Invalid(f"the CA file {self._ca} cannot be used: {error}") from None
        return self._tls

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except HivemindError:
            raise
        except (FileNotFoundError, ConnectionRefusedError):
            raise Unavailable(
                f"no Hivemind daemon answers at {self.endpoint}", hint="start it with: hivemind daemon"
            ) from None
        except PermissionError:
            raise Forbidden(
                f"this user may not open {self.path}",
                hint="use sudo, or give an http endpoint and a token",
            ) from None
        except TimeoutError:
            raise TimedOut(
                f"the daemon at {self.endpoint} did not answer within {self.timeout:g} seconds",
                hint="ask again; if it stays so, look at the daemon's log",
            ) from None
        except (OSError, http.client.HTTPException) as error:
            what = str(error) or type(error).__name__
            raise Unavailable(
                f"the connection to {self.endpoint} failed: {what}",
                hint="check the address and that the daemon runs",
            ) from None

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def target(path: str, query: Mapping[str, object] | None) -> str:
    """Path and query string; what is empty or None is left out, sequences repeat their key."""
    pairs: list[tuple[str, str]] = []
    for key, value in (query or {}).items():
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        pairs += [(key, str(item)) for item in values if item is not None and item != ""]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _error(status: int, headers: HTTPMessage, body: bytes) -> HivemindError:
    if headers.get("Content-Type", "").startswith(PROBLEM_FORMAT):
        return msgspec.json.decode(body, type=Problem).error()
    return from_code(
        "unavailable",
        f"what answered with status {status} is not a Hivemind daemon",
        "check the endpoint",
    )
