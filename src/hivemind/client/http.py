"""HTTP/1.1 over one socket, on httptools: a third of what importing http.client alone would cost.

An answer that ends too early is an error here, however its body is framed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping

import httptools

Body = bytes | Iterable[bytes] | None

_READ = 1 << 16


class Broken(OSError):
    """The connection ended, or the answer makes no sense."""


class Exchange:
    """Asks and answers in turn. `status`, `headers` (lower-case names) and then `pieces` are of the last answer."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._begun = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self.reusable = False

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: Body) -> None:
        """Sends it all and reads the head of the answer."""
        self._reset()
        framed = dict(headers)
        if isinstance(body, bytes):
            framed["Content-Length"] = str(len(body))
        elif body is not None:
            framed["Transfer-Encoding"] = "chunked"
        lines = [
            f"{method} {target} HTTP/1.1",
            *(f"{name}: {value}" for name, value in framed.items()),
            "",
            "",
        ]
        head = "\r\n".join(lines).encode("latin-1")
        try:
            self.sock.sendall(head + body if isinstance(body, bytes) else head)
            if body is not None and not isinstance(body, bytes):
                for piece in filter(None, body):  # an empty one would be the end
                    self.sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.sock.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all was sent: the answer that says why may be waiting
        while not self._begun:
            self._receive()

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives. Raises `Broken` if it ends before its end."""
        while True:
            ready, self._pieces = self._pieces, []
            yield from ready
            if self.complete and not self._pieces:
                return
            if not self._pieces:
                self._receive()

    def read(self) -> bytes:
        return b"".join(self.pieces())

    def lines(self) -> Iterator[bytes]:
        """The body line by line, without the ends of lines."""
        rest = b""
        for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def _receive(self) -> None:
        data = self.sock.recv(_READ)
        if not data:
            raise Broken("it was closed before the answer was complete")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Broken(f"this is not HTTP: {error}") from None

    def close(self) -> None:
        self.sock.close()

    # -- what httptools calls ----------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._begun = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self.complete = True
        self.reusable = self._parser.should_keep_alive()
