"""A registry that points anywhere and says anything is told of, and is no defect."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from hivemind.drivers.images.access import Access
from hivemind.drivers.images.connection import RegistryConnection
from hivemind.errors import HivemindError


@contextmanager
def registry(status: int, headers: dict[str, str], token: bytes = b"") -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.path.startswith("/token")
            self.send_response(200 if asked else status)
            for name, value in {} if asked else headers.items():
                self.send_header(name, value.replace("HERE", self.headers["Host"]))
            self.end_headers()
            self.wfile.write(token if asked else b"")

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


NOWHERE = ["http://[", "http://x:port/", "http://x:99999999/", "http://", "//", "file:///etc/shadow",
           "http://x\u0001y/", "http://x y/"]  # fmt: skip


def ask(host: str) -> None:
    with RegistryConnection(Access(host=host, timeout=5), "a", "a").get("x", {}):
        pass


@pytest.mark.parametrize("place", NOWHERE)
@pytest.mark.parametrize("status", [301, 401])
def test_addresses_that_are_none(place: str, status: int) -> None:
    name = "Location" if status == 301 else "WWW-Authenticate"
    told = {name: place if status == 301 else f'Bearer realm="{place}"'}
    with registry(status, told) as host, pytest.raises(HivemindError):
        ask(host)


def test_a_token_that_is_no_header() -> None:
    told = {"WWW-Authenticate": 'Bearer realm="http://HERE/token"'}
    token = b'{"token": "a\\r\\nX-Evil: 1"}'
    with registry(401, told, token) as host, pytest.raises(HivemindError):
        ask(host)
