"""Those whom notices are delivered to: a web server and a mail server on loopback."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Posted(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Web(ThreadingHTTPServer):
    """Answers with `status`; keeps what was posted."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.status = 200
        self.posted: list[Posted] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Request(BaseHTTPRequestHandler):
    server: Web

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append(Posted(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Mail(socketserver.ThreadingTCPServer):
    """Speaks enough SMTP; refuses the addresses in `refused`; keeps what it took as (sender, recipients, text)."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *, login: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.login = login
        self.refused: set[str] = set()
        self.logins: list[str] = []
        self.taken: list[tuple[str, list[str], str]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Session(socketserver.StreamRequestHandler):
    server: Mail

    def handle(self) -> None:
        self._say("220 here")
        sender, recipients = "", []
        while line := self.rfile.readline().decode().strip():
            verb, _, rest = line.partition(" ")
            address = rest.partition(":")[2].strip("<> ").partition(">")[0]
            match verb.upper():
                case "EHLO":
                    self._say("250-here\r\n250 AUTH PLAIN" if self.server.login else "250 here")
                case "AUTH":
                    self.server.logins.append(rest)
                    self._say("235 welcome" if self.server.login else "535 no")
                case "MAIL":
                    sender = address
                    self._say("250 ok")
                case "RCPT" if address in self.server.refused:
                    self._say("550 nobody")
                case "RCPT":
                    recipients.append(address)
                    self._say("250 ok")
                case "DATA":
                    self._say("354 go on")
                    text = "".join(iter(lambda: self.rfile.readline().decode(), ".\r\n"))
                    self.server.taken.append((sender, recipients, text))
                    self._say("250 ok")
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 ok")

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
