"""HTTP/1.1 with a daemon, over its unix socket, TCP or TLS. Failures become Hivemind's errors."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from hivemind.client.http import Body, Exchange
from hivemind.errors import Forbidden, HivemindError, Invalid, TimedOut, Unavailable
from hivemind.model.answers import PROBLEM_FORMAT, Problem

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

DEFAULT_ENDPOINT = "unix:///run/hivemind/hivemind.sock"

STREAM_SILENCE = 60.0
"""Seconds. On every quiet stream the daemon gives a sign of life four times as often."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """Where a daemon is and how to speak to it. Keeps idle connections for later calls; safe for threads."""

    def __init__(self, endpoint: str, *, token: str = "", ca: str = "", timeout: float = 60.0) -> None:
        try:
            parts = urlsplit(endpoint)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        where = parts.path if parts.scheme == "unix" else parts.hostname
        if parts.scheme not in ("unix", "http", "https") or not where:
            raise Invalid(
                f"{endpoint!r} is not an endpoint",
                hint=f"write it like {DEFAULT_ENDPOINT} or https://node-1:3000",
            )
        if not token.isascii() or any(letter.isspace() for letter in token):
            raise Invalid(
                "the token has letters that no token has", hint="copy all of it, from hm_ to the end"
            )
        self.endpoint = endpoint
        self.scheme = parts.scheme
        self.path = parts.path
        self.host = parts.hostname or "localhost"
        self.port = port or (443 if parts.scheme == "https" else 80)
        self.token = token
        self.timeout = timeout
        self._ca = ca
        self._tls: ssl.SSLContext | None = None
        self._idle: list[Exchange] = []

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
        timeout: float = 0.0,
    ) -> Answer:
        """Asks and reads the whole answer. Raises the error that the daemon names.

        `timeout`: seconds of silence to bear instead of the usual ones."""
        asked = self.open(method, path, query=query, body=body, headers=headers, timeout=timeout)
        with asked as exchange, self.explained():
            return Answer(exchange.status, exchange.headers, exchange.read())

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 0.0,
    ) -> Iterator[Exchange]:
        """Asks and hands over the answer, its body still to be read. A bad status raises."""
        sent = {"Host": self.authority, "Accept": "*/*", **self.headers(), **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        if method != "GET":
            sent.setdefault("Idempotency-Key", os.urandom(16).hex())
        with self.explained():
            exchange = self._ask(method, target(path, query), sent, body, timeout or self.timeout)
        try:
            if exchange.status >= 400:
                with self.explained():
                    raise _error(exchange.status, exchange.headers, exchange.read())
            yield exchange
        finally:
            if exchange.complete and exchange.reusable:
                self._idle.append(exchange)
            else:
                exchange.close()

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: Body, timeout: float) -> Exchange:
        if (body is None or isinstance(body, bytes)) and self._idle:
            # The daemon may have closed a kept connection meanwhile. Asking once more is safe: every write
            # carries an Idempotency-Key.
            kept = self._idle.pop()
            kept.sock.settimeout(timeout)
            try:
                kept.ask(method, url, headers, body)
                return kept
            except TimeoutError:
                kept.close()
                raise
            except OSError:
                kept.close()
        fresh = Exchange(self._connect(timeout))
        try:
            fresh.ask(method, url, headers, body)
        except BaseException:
            fresh.close()
            raise
        return fresh

    def dial(self) -> socket.socket:
        """A new raw connection, for what is not plain HTTP."""
        with self.explained():
            return self._connect(max(self.timeout, STREAM_SILENCE))

    def _connect(self, timeout: float) -> socket.socket:
        if self.scheme == "unix":
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(timeout)
                sock.connect(self.path)
            except BaseException:
                sock.close()
                raise
            return sock
        sock = socket.create_connection((self.host, self.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.scheme == "https":
            try:
                secured: socket.socket = self._trust().wrap_socket(sock, server_hostname=self.host)
                return secured
            except BaseException:
                sock.close()
                raise
        return sock

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            import ssl

            try:
                self._tls = ssl.create_default_context(cafile=self._ca or None)
            except OSError as error:
                raise Invalid(
                    f"the CA file {self._ca} cannot be used: {error.strerror or error}",
                    hint="it is a PEM file with the certificate of the daemon or of its authority",
                ) from None
        return self._tls

    @contextmanager
    def explained(self) -> Iterator[None]:
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
        except OSError as error:
            raise self._broken(error) from None

    def _broken(self, error: OSError) -> Unavailable:
        what, hint = str(error) or type(error).__name__, "check the address and that the daemon runs"
        if why := getattr(error, "verify_message", ""):
            what = f"its certificate is not trusted ({why})"
            hint = "name the certificate to trust: --ca FILE or HIVEMIND_CA"
        elif self.scheme == "http":
            hint += "; if it speaks TLS, the address begins with https://"
        return Unavailable(f"the connection to {self.endpoint} failed: {what}", hint=hint)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


def target(path: str, query: Mapping[str, object] | None) -> str:
    """Path and query string; what is empty or None is left out, sequences repeat their key."""
    pairs: list[tuple[str, str]] = []
    for key, value in (query or {}).items():
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        pairs += [(key, str(item)) for item in values if item is not None and item != ""]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def understood(data: bytes, type: type[T]) -> T:
    """What the daemon answered, as a `type`."""
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.DecodeError as error:
        raise Unavailable(
            f"the daemon answers in a way that this client does not understand: {error}",
            hint="check the endpoint, and that client and daemon are of the same version",
        ) from None


def _error(status: int, headers: Mapping[str, str], body: bytes) -> HivemindError:
    if headers.get("content-type", "").startswith(PROBLEM_FORMAT):
        return understood(body, Problem).error()
    return Unavailable(
        f"what answered with status {status} is not a Hivemind daemon", hint="check the endpoint"
    )
