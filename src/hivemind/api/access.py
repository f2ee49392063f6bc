"""Who asks, and whether they may.

On the unix socket the kernel says who is there; everywhere else a token does. There are no cookies, so a
foreign web page has nothing to abuse; the Host check keeps such a page from reaching us under a name of its own.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from hivemind.errors import Forbidden, HivemindError, Invalid, Unauthenticated
from hivemind.model.principal import Role
from hivemind.security.identity import Identity, from_token

if TYPE_CHECKING:
    from hivemind.api.backend import Backend


@dataclass(frozen=True)
class Peer:
    """What the socket itself says about a client. `uid` only on the unix socket."""

    unix: bool
    uid: int = -1
    loopback: bool = False
    """It came to a loopback address of ours."""


@dataclass(frozen=True)
class Caller:
    identity: Identity | None
    """None for anyone, and for who asks through another node: that has the key."""
    role: Role
    name: str = ""
    public: str = ""
    through: str = ""
    """Id of the node that was asked first, and asks this one; empty: this one was."""

    def require(self, role: Role) -> None:
        if self.role < role:
            raise Forbidden(
                f"{self.name or 'this token'} is a {self.role.name.lower()}; this needs the role {role.name.lower()}",
                hint="use a token with that role",
            )


SIGN_IN = "give it with --token or HIVEMIND_TOKEN; in a request: Authorization: Bearer hm_…"
ANYONE = Caller(None, Role.VIEWER)


def caller(backend: Backend, connection: HTTPConnection, *, basic: bool = False) -> Caller:
    """With `basic` the token may come as the password of whatever user.

    Raises `Unauthenticated` without a good token, `Forbidden` for foreign users of the unix socket."""
    known = connection.scope["state"].get("caller")
    if isinstance(known, Caller):
        return known
    peer: Peer = connection.scope["state"]["peer"]
    header = connection.headers.get("authorization")
    if header is not None:
        return _bearer(backend, _from_basic(header) if basic else header)
    if not peer.unix:
        raise Unauthenticated("this needs a token", hint=SIGN_IN)
    if peer.uid not in (0, os.geteuid()):
        raise Forbidden(
            f"user {peer.uid} may not administer this node",
            hint="use sudo, or send a token: Authorization: Bearer hm_…",
        )
    who = backend.administrator
    return Caller(who, Role.ADMIN, "the local administrator", who.public)


def _from_basic(header: str) -> str:
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        return header
    try:
        _, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
    except ValueError:
        raise Unauthenticated("the sign-in is malformed", hint="give a token as the password") from None
    return f"Bearer {password}"


def _bearer(backend: Backend, header: str) -> Caller:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated(f"{scheme!r} is not understood", hint="send: Authorization: Bearer hm_…")
    try:
        identity = from_token(token)
    except (Invalid, ValueError) as error:
        hint = error.hint if isinstance(error, HivemindError) else "copy all of it, from hm_ to the end"
        raise Unauthenticated("the token is malformed", hint=hint) from None
    principal = backend.state.principals.get(identity.public)
    if principal is None:
        raise Unauthenticated(
            "this hive does not know that token, or it was revoked",
            hint="ask an administrator for a new one: hivemind token create --name NAME --role ROLE",
        )
    return Caller(identity, principal.role, principal.name, identity.public)


def check_host(connection: HTTPConnection) -> None:
    """On loopback only loopback's own names are answered to: a web page must not reach us by rebinding its name."""
    peer: Peer = connection.scope["state"]["peer"]
    if peer.unix or not peer.loopback:
        return
    host = connection.headers.get("host", "")
    if not _is_loopback(host):
        raise Forbidden(
            f"this address is not called {host[:100]!r}", hint="use http://127.0.0.1 or http://localhost"
        )


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
