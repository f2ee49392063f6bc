"""Listening and stopping: private sockets, taken addresses, TLS, and clients that are slow, huge or gone."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from hivemind.api import server
from hivemind.api.server import ApiServer
from hivemind.api.settings import ApiSettings
from hivemind.client import Hivemind
from hivemind.errors import Conflict, Forbidden, HivemindError, Invalid, Unavailable
from tests.unit.api.backend import ADMIN, MemoryBackend
from tests.unit.api.conftest import Running

pytestmark = pytest.mark.anyio


async def refused(settings: ApiSettings) -> HivemindError:
    server = ApiServer(MemoryBackend(), settings)
    with pytest.raises(HivemindError) as told:
        await server.start()
    assert told.value.hint
    return told.value


async def test_the_socket_is_private_and_goes_with_the_server(short_dir: Path) -> None:
    path = short_dir / "run" / "api.sock"
    server = ApiServer(MemoryBackend(), ApiSettings(socket=str(path), port=None))
    await server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert server.port is None
    await server.stop()
    assert not path.exists()


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(short_dir: Path) -> None:
    path = short_dir / "api.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    settings = ApiSettings(socket=str(path), port=None)
    server = ApiServer(MemoryBackend(), settings)
    await server.start()
    assert isinstance(await refused(settings), Conflict)
    assert path.exists()
    await server.stop()


async def test_what_is_no_socket_is_left_alone(short_dir: Path) -> None:
    path = short_dir / "api.sock"
    path.write_text("precious")
    assert isinstance(await refused(ApiSettings(socket=str(path), port=None)), Conflict)
    assert path.read_text() == "precious"


async def test_a_path_that_is_too_long(short_dir: Path) -> None:
    path = short_dir / ("x" * 120)
    assert isinstance(await refused(ApiSettings(socket=str(path), port=None)), Invalid)


async def test_a_taken_port_leaves_nothing_behind(short_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = await refused(ApiSettings(socket=str(short_dir / "api.sock"), port=port))
    assert isinstance(error, Conflict) and str(port) in error.message and "ss -ltnp" in error.hint
    assert not (short_dir / "api.sock").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
async def test_beyond_loopback_only_with_tls(host: str) -> None:
    error = await refused(ApiSettings(socket="", host=host, port=0))
    assert isinstance(error, Invalid) and "--tls-cert" in error.hint


async def test_bad_certificates(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("nonsense")
    bad = str(tmp_path / "c.pem")
    assert isinstance(await refused(ApiSettings(socket="", port=0, tls_cert=bad, tls_key=bad)), Invalid)
    assert isinstance(await refused(ApiSettings(socket="", port=0, tls_cert=bad)), Invalid)
    missing = ApiSettings(socket="", port=0, tls_cert="/nowhere", tls_key="/nowhere")
    assert isinstance(await refused(missing), Invalid)


async def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    made = certificate(tmp_path)
    error = await refused(ApiSettings(socket="", host="192.0.2.1", port=0, **made))
    assert isinstance(error, Invalid) and "ip address" in error.hint


def certificate(directory: Path) -> dict[str, str]:
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return {"tls_cert": str(cert), "tls_key": str(key)}


def test_over_tls(tmp_path: Path) -> None:
    made = certificate(tmp_path)
    running = Running(ApiSettings(socket="", port=0, **made))
    try:
        url = f"https://localhost:{running.server.port}"
        with Hivemind(url, token=ADMIN.token(), ca=made["tls_cert"]) as hive:
            assert hive.status().node_name == "node-1"
        with Hivemind(url, token=ADMIN.token()) as hive, pytest.raises(Unavailable, match="certificate"):
            hive.status()
        with (
            Hivemind(f"http://localhost:{running.server.port}", timeout=5) as hive,
            pytest.raises(HivemindError),
        ):
            hive.status()
    finally:
        running.stop()


def test_old_tls_is_not_spoken(tmp_path: Path) -> None:
    context = server._tls(ApiSettings(socket="", port=0, **certificate(tmp_path)))
    assert context is not None and context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_other_users_of_the_machine(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running.local.status().hive == "testhive"
    monkeypatch.setattr("hivemind.api.protocol.struct.unpack", lambda form, data: (1, 12345, 12345))
    with pytest.raises(Forbidden, match="12345"):
        running.local.status()
    with Hivemind(running.local.endpoint, token=ADMIN.token()) as hive:
        assert hive.status().hive == "testhive"


def test_the_kernel_names_the_peer(running: Running) -> None:
    peers = []
    with Hivemind(running.local.endpoint) as hive:
        hive.status()
        peers = running.do(lambda: [c.app_state["peer"] for c in running.server._clients.connections])
    assert [(p.unix, p.uid) for p in peers] == [(True, os.geteuid())]


# -- clients that would hurt --------------------------------------------------------------------------------------


def limited(directory: Path, **more: object) -> Running:
    settings = {"header_timeout": 0.3, "body_timeout": 0.3, "stall_timeout": 0.3, **more}
    return Running(ApiSettings(socket=str(directory / "api.sock"), port=0, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "start", [b"", b"GET / HT", b"\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "]
)
def test_a_head_that_never_ends(short_dir: Path, start: bytes) -> None:
    running = limited(short_dir)
    try:
        with socket.create_connection(("127.0.0.1", running.server.port or 0), timeout=10) as raw:
            raw.sendall(start)
            assert _rest(raw) == b""
    finally:
        running.stop()


def test_a_head_that_is_huge(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.server.port or 0), timeout=10) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000)
        assert _rest(raw).startswith(b"HTTP/1.1 431")


def test_a_body_that_never_comes(short_dir: Path) -> None:
    running = limited(short_dir)
    try:
        with socket.create_connection(("127.0.0.1", running.server.port or 0), timeout=10) as raw:
            raw.sendall(
                b"POST /v1/projects HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + ADMIN.token().encode()
                + b'\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{"name": '
            )  # fmt: skip
            answer = _rest(raw)
        assert answer.startswith(b"HTTP/1.1 400") and b"stopped arriving" in answer
    finally:
        running.stop()


def test_a_client_that_does_not_read(short_dir: Path) -> None:
    running = limited(short_dir)
    try:
        running.do(lambda: [running.backend.happen(n, app="x" * 200) for n in range(20_000)])
        with socket.create_connection(("127.0.0.1", running.server.port or 0), timeout=10) as raw:
            raw.sendall(
                b"GET /v1/events?after=0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
                + ADMIN.token().encode() + b"\r\n\r\n"
            )  # fmt: skip
            gone = threading.Event()
            while not gone.wait(0.05):
                if running.do(
                    lambda: not running.server._clients.connections and not running.server._clients.tasks
                ):
                    gone.set()
        assert running.do(lambda: running.backend.store.subscribers) == 1, "who keeps the order of arrivals"
    finally:
        running.stop()


def test_too_many_requests_at_once(short_dir: Path) -> None:
    running = limited(short_dir, max_connections=1, heartbeat=5.0)
    try:
        following = running.local.events_follow(after="0")
        running.do(running.backend.happen, 1)
        assert next(following).time == 1
        with pytest.raises(Unavailable, match="as many requests as it can"):
            running.remote().status()
        following.close()  # type: ignore[attr-defined]
    finally:
        running.stop()


def _rest(raw: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    found = b""
    try:
        while data := raw.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found
