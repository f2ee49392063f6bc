"""The API's sockets: a private unix socket, and TCP or TLS. Runs inside the daemon's own event loop.

uvicorn is there for WebSockets alone, and imported by the first: its HTTP brings three megabytes of a command line,
loggers and process supervisors along.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import Any

from hivemind.api.application import Application
from hivemind.api.backend import Backend
from hivemind.api.protocol import Clients, HttpProtocol
from hivemind.api.settings import ApiSettings
from hivemind.errors import Conflict, Forbidden, HivemindError, Invalid, Unavailable

_BACKLOG = 512
_TLS_BUFFER = 64 * 2**10
"""asyncio's own 256 KiB would cost 283 KB for each connection."""


class ApiServer:
    """`start` listens, `stop` ends every stream and lets running requests finish."""

    def __init__(self, backend: Backend, settings: ApiSettings) -> None:
        self.settings = settings
        self.port: int | None = None
        """The TCP port, once listening."""
        self._application = Application(backend, settings)
        self._clients = Clients(self._application, settings)
        self._servers: list[asyncio.Server] = []
        self._inode = 0

    async def start(self) -> None:
        """Raises `Invalid` for settings that would expose the API, `Conflict` when an address is taken."""
        settings = self.settings
        _refuse_exposure(settings)
        try:
            if settings.socket:
                await self._listen(sock=self._bind_unix(Path(settings.socket)))
            if settings.port is not None:
                self.port = await self._listen_tcp(settings.port)
            if settings.ws_port is not None:
                await self._listen_tcp(settings.ws_port)
        except BaseException:
            await self.stop()
            raise

    async def _listen(self, **where: Any) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: HttpProtocol(self._clients), backlog=_BACKLOG, **where)
        self._servers.append(server)
        return server

    async def _listen_tcp(self, port: int) -> int:
        """The port that it is."""
        host = self.settings.host
        tls = _tls(self.settings)
        secured = {"ssl": tls, "ssl_handshake_timeout": self.settings.header_timeout} if tls else {}
        try:
            server = await self._listen(host=host, port=port, **secured)
        except OSError as error:
            raise _explain(error, f"{host}:{port}") from None
        return int(server.sockets[0].getsockname()[1])

    def _bind_unix(self, path: Path) -> socket.socket:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clear_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            path.chmod(0o600)  # nobody can connect before it listens, and by then it is private
        except OSError as error:
            listener.close()
            raise _explain(error, str(path)) from None
        self._inode = path.stat().st_ino
        return listener

    async def stop(self) -> None:
        """Streams end at once, requests get `grace` seconds; then connections are cut."""
        self._application.streams.close()
        for server in self._servers:
            server.close()
        for connection in list(self._clients.connections):
            connection.shutdown()
        await self._finish(self.settings.grace)
        for connection in list(self._clients.connections):
            connection.transport.abort()
        await self._finish(1.0)
        for task in list(self._clients.tasks):
            task.cancel()
        await self._finish(1.0)
        self._servers.clear()
        self._remove_socket()

    async def _finish(self, seconds: float) -> None:
        if self._clients.tasks:
            await asyncio.wait(set(self._clients.tasks), timeout=seconds)

    def _remove_socket(self) -> None:
        """Only our own: another daemon may have taken the path meanwhile."""
        path = Path(self.settings.socket)
        try:
            if self._inode and path.stat().st_ino == self._inode:
                path.unlink()
        except FileNotFoundError:
            pass
        self._inode = 0


def _refuse_exposure(settings: ApiSettings) -> None:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise Invalid(
            "TLS needs both a certificate and its key", hint="give both --tls-cert FILE and --tls-key FILE"
        )
    if (
        (settings.port is None and settings.ws_port is None)
        or settings.tls_cert
        or _is_loopback(settings.host)
    ):
        return
    raise Invalid(
        f"the API will not listen on {settings.host!r} without TLS: tokens would travel in the clear",
        hint="give --tls-cert FILE and --tls-key FILE, or listen on 127.0.0.1",
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls(settings: ApiSettings) -> ssl.SSLContext | None:
    if not settings.tls_cert:
        return None
    import asyncio.sslproto

    asyncio.sslproto.SSLProtocol.max_size = _TLS_BUFFER
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(
            f"the TLS certificate {settings.tls_cert} or its key cannot be used: {error.strerror or error}",
            hint="both are PEM files, and the key must belong to the certificate",
        ) from None
    return context


def _clear_stale(path: Path) -> None:
    """Removes a socket that nobody listens on any more."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Conflict(
                f"{path} is in the way: it is no socket", hint="move it away, or choose another socket path"
            )
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(1.0)
    try:
        probe.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _explain(error, str(path)) from None
    else:
        raise Conflict(
            f"a daemon listens on {path} already", hint="stop that one, or choose another socket path"
        )
    finally:
        probe.close()


def _explain(error: OSError, address: str) -> HivemindError:
    if error.errno == errno.EADDRINUSE:
        port = address.rpartition(":")[2]
        return Conflict(
            f"{address} is taken by another program",
            hint=f"ss -ltnp 'sport = :{port}' shows which; or choose another: --web-port",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Forbidden(
            f"this user may not listen on {address}", hint="run as root, or choose another address"
        )
    if "too long" in str(error):
        return Invalid(f"the socket path {address} is too long", hint="the kernel takes at most 107 bytes")
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return Invalid(f"this machine has no address {address}", hint="ip address shows those it has")
    return Unavailable(
        f"cannot listen on {address}: {os.strerror(error.errno or 0)}", hint="try another address"
    )
