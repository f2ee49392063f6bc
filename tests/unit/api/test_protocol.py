"""HTTP/1.1 as it may come over a connection: in pieces, ahead of its turn, or not to be understood."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.unit.api.backend import ADMIN
from tests.unit.api.conftest import Running

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
TOKEN = b"Host: localhost\r\nAuthorization: Bearer " + ADMIN.token().encode() + b"\r\n"
EVENTS = b"GET /v1/events?after=0 HTTP/1.1\r\n" + TOKEN + b"\r\n"
LAST = b"Connection: close\r\n\r\n"


@contextmanager
def connected(running: Running) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", running.server.port or 0), timeout=10) as raw:
        yield raw


def until(raw: socket.socket, end: bytes) -> bytes:
    found = b""
    while not found.endswith(end):
        data = raw.recv(65536)
        assert data, found
        found += data
    return found


def rest(raw: socket.socket) -> bytes:
    return b"".join(iter(lambda: raw.recv(65536), b""))


def test_a_request_in_single_bytes(running: Running) -> None:
    with connected(running) as raw:
        for byte in HEALTH.replace(b"\r\n\r\n", b"\r\n" + LAST):
            raw.sendall(bytes((byte,)))
        assert rest(raw).startswith(b"HTTP/1.1 200 OK\r\n")


def test_requests_ahead_of_their_turn_are_answered_in_their_order(running: Running) -> None:
    unknown = b"GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connected(running) as raw:
        raw.sendall(HEALTH + unknown + HEALTH + unknown.replace(b"\r\n\r\n", b"\r\n" + LAST) + HEALTH)
        answers = rest(raw)
    statuses = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200", b"404"], "what follows the last one is none"


def test_who_leaves_while_more_requests_wait_ends_what_is_being_answered(running: Running) -> None:
    with connected(running) as raw:
        raw.sendall(EVENTS + HEALTH)
        until(raw, b"id: 0\n\n\r\n")
        assert running.do(lambda: len(running.server._clients.tasks)) == 1
        raw.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )  # an RST: the next heartbeat fails
    while running.do(lambda: bool(running.server._clients.tasks or running.server._clients.connections)):
        pass


def test_a_body_is_asked_for(running: Running) -> None:
    body = json.dumps({"name": "shop"}).encode()
    with connected(running) as raw:
        raw.sendall(
            b"POST /v1/projects HTTP/1.1\r\n"
            + TOKEN
            + b"Content-Type: application/json\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n" % len(body) + LAST
        )
        assert until(raw, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(body)
        assert rest(raw).startswith(b"HTTP/1.1 201 Created\r\n")


def test_a_body_that_nobody_asked_for_is_not_waited_for(running: Running) -> None:
    with connected(running) as raw:
        raw.sendall(
            b"POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Length: 10\r\n" + LAST
        )
        assert rest(raw).startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_an_old_client_gets_an_end(running: Running) -> None:
    with connected(running) as raw:
        raw.sendall(HEALTH.replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = rest(raw)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"connection: close\r\n" in answer


def test_a_head_without_its_body(running: Running) -> None:
    with connected(running) as raw:
        raw.sendall(HEALTH.replace(b"GET", b"HEAD") + HEALTH.replace(b"\r\n\r\n", b"\r\n" + LAST))
        first, _, second = rest(raw).partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n") and second.startswith(b"HTTP/1.1 200 OK\r\n")


def test_another_protocol_is_not_what_it_is_upgraded_to(running: Running) -> None:
    with connected(running) as raw:
        raw.sendall(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n"))
        assert until(raw, b"}").startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/7.3\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: nil\r\n\r\n",
    ],
)
def test_what_is_no_request_is_a_problem(running: Running, sent: bytes) -> None:
    with connected(running) as raw:
        raw.sendall(sent)
        head, _, body = rest(raw).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b"application/problem+json" in head
    assert json.loads(body)["code"] == "invalid"
