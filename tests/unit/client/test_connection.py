"""What the client says when there is no daemon, no answer, or an answer from something else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hivemind.client import Hivemind
from hivemind.client.endpoint import default_endpoint
from hivemind.client.http import Broken, Exchange
from hivemind.errors import HivemindError, Invalid, TimedOut, Unavailable

STATUS = (
    b'{"version":"1","hive":"h","node":"n","node_name":"node-1","runtime":"r","network":"w",'
    b'"started":1,"sequence":1,"digest":"d"}'
)


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """A server that reads a request and sends the next answer, byte for byte, then hangs up after the last."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def whole(body: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        kind,
        len(body),
        body,
    )


def told(endpoint: str, timeout: float = 10.0) -> HivemindError:
    with Hivemind(endpoint, timeout=timeout) as hive, pytest.raises(HivemindError) as refused:
        hive.status()
    assert refused.value.hint
    return refused.value


def test_no_daemon(tmp_path: Path) -> None:
    error = told(f"unix://{tmp_path}/none.sock")
    assert isinstance(error, Unavailable) and "hivemind daemon" in error.hint
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = told(f"http://127.0.0.1:{port}")
    assert isinstance(error, Unavailable) and "hivemind daemon" in error.hint


@pytest.mark.parametrize("endpoint", ["", "node-1:3000", "ftp://x", "unix://", "http://", "http://x:99999"])
def test_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(Invalid, match="not an endpoint"):
        Hivemind(endpoint)


def test_what_is_no_token() -> None:
    with pytest.raises(Invalid, match="token"):
        Hivemind("http://x", token="hm_\r\nHost: evil")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        whole(b"<html>", b"502 Bad Gateway", b"text/html"),
        whole(b"<html>"),
        whole(b"{}", b"404 Not Found", b"application/problem+json"),
    ],
)
def test_something_else_answers(answer: bytes) -> None:
    with answering(answer) as endpoint:
        assert isinstance(told(endpoint), Unavailable)


def test_a_daemon_that_stays_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert isinstance(told(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.1), TimedOut)


def test_a_kept_connection_that_was_closed_meanwhile_is_opened_again() -> None:
    with answering(whole(STATUS), whole(STATUS)) as endpoint, Hivemind(endpoint) as hive:
        assert hive.status().node_name == hive.status().node_name == "node-1"


@pytest.mark.parametrize("cut", [lambda data: [data], lambda data: [bytes([byte]) for byte in data]])
def test_an_answer_in_any_pieces(cut: Callable[[bytes], list[bytes]]) -> None:
    ours, theirs = socket.socketpair()
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n4\r\n\n\ncd\r\n0\r\n\r\n"

    def serve() -> None:
        theirs.recv(1000)
        for piece in cut(answer):
            theirs.sendall(piece)

    thread = threading.Thread(target=serve)
    thread.start()
    exchange = Exchange(ours)
    exchange.ask("GET", "/", {}, None)
    assert list(exchange.lines()) == [b"a", b"b", b"", b"cd"]
    assert exchange.complete and exchange.reusable
    thread.join()
    theirs.close()
    with pytest.raises((Broken, OSError)):
        exchange.ask("GET", "/", {}, None)
    exchange.close()


def test_without_an_endpoint_it_goes_where_the_command_line_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(whole(STATUS)) as endpoint:
        monkeypatch.setenv("HIVEMIND_HOST", endpoint)
        with Hivemind() as hive:
            assert hive.status().node_name == "node-1"
    monkeypatch.delenv("HIVEMIND_HOST")
    assert Hivemind().endpoint == default_endpoint()
