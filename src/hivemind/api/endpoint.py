"""An endpoint is a declaration, too: the router, the checks and the OpenAPI document all read it.

A handler gets a `Call` in which everything was checked already: who asks, the path, the query, the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from hivemind.api.access import SIGN_IN, Caller
from hivemind.api.backend import Backend
from hivemind.api.settings import ApiSettings
from hivemind.api.streams import Streams
from hivemind.errors import (
    Forbidden,
    HivemindError,
    Invalid,
    Unauthenticated,
    Unavailable,
)
from hivemind.model.answers import PROBLEM_FORMAT, problem
from hivemind.model.base import Spec
from hivemind.model.principal import Role
from hivemind.security.identity import Identity
from hivemind.state.operations import Operation, RegisterPrincipal, RevokePrincipal
from hivemind.state.state import Outcome, State

JSON = "application/json"


class NoQuery(Spec, frozen=True, kw_only=True):
    """Takes no query parameters at all."""


@dataclass(frozen=True)
class Answer:
    """What a good answer looks like: a body that is one of `types`, or none at all."""

    status: int
    text: str
    types: tuple[Any, ...] = ()
    media: str = JSON
    etag: bool = False


class Place(NamedTuple):
    """Where a request is answered: by which node (its id), with which parameters in its path."""

    node: str
    params: Mapping[str, str]


@dataclass(frozen=True)
class Endpoint:
    method: str
    """`GET`, `POST`, `PUT`, `DELETE`, or `WEBSOCKET`."""
    path: str
    """With `{parameters}`; the last one may be `{name:path}`, which takes slashes too."""
    name: str
    """The operation's id, such as `apps.scale`."""
    summary: str
    handler: Callable[..., Awaitable[Any]]
    """`(call) -> Response`; for a WebSocket `(call, websocket) -> None`."""
    answers: tuple[Answer, ...] = ()
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] | None = None
    upload: tuple[str, ...] = ()
    """Media types of a streamed body; the handler reads it."""
    headers: tuple[str, ...] = ()
    """Request headers it understands beside the usual ones."""
    errors: tuple[type[HivemindError], ...] = ()
    role: Role = Role.VIEWER
    open: bool = False
    """Answers to anyone, without a token."""
    at: Callable[[Call], Awaitable[Place | None]] | None = None
    """Who can answer that: another node, or None for this one. Empty: any node can."""
    gathers: bool = False
    """It asks other nodes for their part of the answer, and is asked by them for its own."""

    @property
    def writes(self) -> bool:
        return self.method in ("POST", "PUT", "DELETE")

    @property
    def tag(self) -> str:
        return self.name.partition(".")[0]

    @property
    def refusals(self) -> tuple[type[HivemindError], ...]:
        """All errors it may answer with."""
        usual: tuple[type[HivemindError], ...] = (Invalid, Forbidden, Unavailable)
        return tuple(dict.fromkeys((*usual, *(() if self.open else (Unauthenticated,)), *self.errors)))


@dataclass(frozen=True)
class Call:
    """One request, checked. Handlers never look at raw input unless they stream it."""

    backend: Backend
    settings: ApiSettings
    streams: Streams
    role: Role
    """What it takes to ask this."""
    caller: Caller
    connection: HTTPConnection
    params: Mapping[str, str]
    query: Any = None
    body: Any = None
    table: tuple[Endpoint, ...] = ()
    """All endpoints there are, for the document that describes them."""

    @property
    def state(self) -> State:
        return self.backend.state

    @property
    def identity(self) -> Identity:
        """Who signs what this request wants. Open endpoints never come here."""
        if self.caller.through:
            raise Forbidden("what is asked through another node changes nothing", hint="ask this node itself")
        if self.caller.identity is None:
            raise Unauthenticated("this needs a token", hint=SIGN_IN)
        return self.caller.identity

    @property
    def admitted(self) -> bool:
        """Whoever asked still may: to be looked at again by whatever has no end."""
        principal = self.state.principals.get(self.caller.public)
        return principal is not None and principal.role >= self.role

    @property
    def request(self) -> Request:
        assert isinstance(self.connection, Request)
        return self.connection

    @property
    def project(self) -> str | None:
        return self.params.get("project")

    async def submit(self, operation: Operation) -> Outcome:
        """Has it agreed. Raises what it was refused with."""
        nonce = self.connection.headers.get("idempotency-key", "")
        if len(nonce) > 200 or not nonce.isascii():
            raise Invalid(
                "the Idempotency-Key is too long or not ASCII", hint="use up to 200 letters and digits"
            )
        outcome = await self.backend.submit(operation, self.identity, nonce=nonce)
        outcome.raise_for_error()
        if isinstance(operation, RegisterPrincipal | RevokePrincipal):
            self.streams.ring()
        return outcome


_encoder = msgspec.json.Encoder()


def reply(value: Any, status: int = 200, *, version: int | None = None, media: str = JSON) -> Response:
    """`value` as JSON; `version` becomes the ETag."""
    headers = {} if version is None else {"ETag": f'"{version}"'}
    return Response(_encoder.encode(value), status, headers, media)


def refusal(error: HivemindError) -> Response:
    response = reply(problem(error), error.status, media=PROBLEM_FORMAT)
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = 'Bearer realm="hivemind"'
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = "1"
    return response


def encode_line(value: Any) -> bytes:
    return _encoder.encode(value) + b"\n"
