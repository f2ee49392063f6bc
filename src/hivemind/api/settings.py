"""The settings of the API."""

from __future__ import annotations

import msgspec


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes in bytes, times in seconds."""

    socket: str = "/run/hivemind/hivemind.sock"
    """The local administrator's unix socket; empty: none."""
    host: str = "127.0.0.1"
    """Address to listen on. Anything beyond loopback needs `tls_cert` and `tls_key`."""
    port: int | None = 3000
    """0 takes a free one; None: no TCP at all."""
    ws_port: int | None = None
    """One more port that answers the same, for who keeps WebSockets apart."""
    tls_cert: str = ""
    tls_key: str = ""
    """Files in PEM form."""
    max_body: int = 2 * 2**20
    max_upload: int = 64 * 2**30
    """Of an image archive."""
    max_headers: int = 32 * 2**10
    max_connections: int = 1024
    header_timeout: float = 10.0
    """How long a client may take to send the head of a request."""
    body_timeout: float = 30.0
    """How long it may pause inside a body."""
    stall_timeout: float = 600.0
    """How long it may leave our answer unread: someone may be reading it in a pager."""
    keep_alive: float = 75.0
    """How long an idle connection is kept."""
    heartbeat: float = 15.0
    """Pause between signs of life on a quiet stream."""
    grace: float = 5.0
    """How long running requests may take to end when the server stops."""
