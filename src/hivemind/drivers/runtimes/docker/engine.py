"""The engine's API: versions, JSON, and its refusals in the hive's words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from hivemind.drivers.runtimes.docker import http
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound, Unavailable, Unsupported

T = TypeVar("T")
Query = Mapping[str, str | int]

OLDEST, NEWEST = (1, 41), (1, 47)
"""Versions of the API that are understood: of docker 20.10 to 27. Later engines still speak the newest of these."""
_PATIENCE = 180.0
"""Seconds for what is not a stream: an engine that pulls at many containers at once takes its time."""


class _Refusal(msgspec.Struct, frozen=True):
    message: str = ""


class _Version(msgspec.Struct, frozen=True, rename="pascal"):
    api_version: str = ""
    version: str = ""


class Engine:
    """One docker engine by its unix socket. Nothing is kept open between calls."""

    def __init__(self, socket: str) -> None:
        self.socket = socket.removeprefix("unix://")
        self.api = OLDEST
        self.version = ""

    async def greet(self) -> None:
        """Agrees on a version of the API. Raises `Unavailable` when nobody answers, `Unsupported` when that is no
        engine that is understood."""
        try:
            async with asyncio.timeout(_PATIENCE), self._ask("GET", "/version", {}, b"") as response:
                said = msgspec.json.decode(await response.read(), type=_Version)
            offered = tuple(int(part) for part in said.api_version.split("."))
        except ValueError:
            raise Unsupported(f"what answers at {self.socket} is no docker engine") from None
        except TimeoutError:
            raise Unavailable(
                f"the docker engine at {self.socket} does not answer", hint="look at the engine's own log"
            ) from None
        if len(offered) != 2 or offered < OLDEST:
            raise Unsupported(
                f"docker {said.version} is too old: its API is {said.api_version}",
                hint=f"docker 20.10 or later is needed (API {OLDEST[0]}.{OLDEST[1]})",
            )
        self.version = said.version
        self.api = min((offered[0], offered[1]), NEWEST)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        type: type[T] | Any = Any,
        query: Query | None = None,
    ) -> Any:
        """The answer as `type`; None when there is none. Raises `HivemindError`."""
        sent = b"" if body is None else msgspec.json.encode(body)
        try:
            async with asyncio.timeout(_PATIENCE), self.stream(method, path, sent, query=query) as response:
                data = await response.read()
        except TimeoutError:
            raise Unavailable(
                f"docker did not answer {method} {path} within {_PATIENCE:g} s",
                hint="look at the engine's own log",
            ) from None
        return msgspec.json.decode(data, type=type) if data else None

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        body: http.Body = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Query | None = None,
    ) -> AsyncIterator[http.Response]:
        """An answer that was no refusal; its body may be read within. Raises `HivemindError`, also when it breaks
        off."""
        target = self._target(path, query)
        async with self._ask(method, target, headers or {}, body) as response:
            if response.status >= 400:
                raise refusal(response.status, await response.read())
            yield response

    async def take_over(self, path: str, body: Any = None, *, query: Query | None = None) -> http.Response:
        """A POST whose connection then carries raw bytes; the caller closes it."""
        target = self._target(path, query)
        sent = b"" if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json", "Connection": "Upgrade", "Upgrade": "tcp"}
        with self._spoken():
            response = await http.request(self.socket, "POST", target, headers, sent)
            if response.status != 101:
                async with response:
                    raise refusal(response.status, await response.read())
        return response

    def _target(self, path: str, query: Query | None) -> str:
        return f"/v{self.api[0]}.{self.api[1]}{path}" + (f"?{urlencode(query)}" if query else "")

    @asynccontextmanager
    async def _ask(
        self, method: str, target: str, headers: Mapping[str, str], body: http.Body
    ) -> AsyncIterator[http.Response]:
        with self._spoken():
            kind = {"Content-Type": "application/json"} if isinstance(body, bytes) else {}
            response = await http.request(self.socket, method, target, {**kind, **headers}, body)
            async with response:
                yield response

    @contextmanager
    def _spoken(self) -> Iterator[None]:
        """Says what is wrong with the connection in the hive's words."""
        try:
            yield
        except ConnectionError as error:
            raise Unavailable(
                f"the docker engine at {self.socket} does not answer: {error}",
                hint="start it, for example with `systemctl start docker`, or name its socket: --docker-socket",
            ) from error


_LACKS_ROOM = ("no space left on device", "disk quota exceeded")
_CANNOT_START = ("executable file not found", "permission denied: unknown", "is a directory: unknown")


def refusal(status: int, body: bytes) -> HivemindError:
    """The engine's refusal as an error of ours."""
    try:
        said = msgspec.json.decode(body, type=_Refusal).message
    except msgspec.DecodeError:
        said = body.decode("utf-8", "replace")
    told = _shortened(said.strip()) or f"status {status}"
    if any(sign in said for sign in _LACKS_ROOM):
        return Unavailable(f"docker has no room left: {told}", hint="free some space; see `docker system df`")
    match status:
        case 404:
            return NotFound(f"docker: {told}")
        case 409:
            return Conflict(f"docker: {told}")
        case 400:
            return Invalid(f"docker refuses: {told}")
        case 501:
            return Unsupported(f"docker: {told}")
        case _ if any(sign in said for sign in _CANNOT_START):
            return Invalid(f"docker cannot start it: {told}")
    return Unavailable(f"docker: {told}", hint="the engine's own log may say more")


def _shortened(message: str) -> str:
    """Without the trail of who told whom: `failed to create shim task: OCI runtime create failed: …: unknown`."""
    for trail in ("unable to start container process: ", "OCI runtime exec failed: exec failed: "):
        message = message.partition(trail)[2] or message
    return message.removesuffix(": unknown")
