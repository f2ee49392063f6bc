"""One question to a gRPC server: grpc.health.v1.Health/Check. HTTP/2 without TLS, as servers inside speak it."""

from __future__ import annotations

import asyncio

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

_STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_CODES = {"5": "it does not know that service", "12": "it does not implement grpc.health.v1"}
"""What the gRPC statuses NOT_FOUND and UNIMPLEMENTED mean here."""
_CHUNK = 16 * 1024
_LONGEST = 64 * 1024
"""Bytes of an answer: a right one has seven."""


async def ask(service: str, ip: str, port: int) -> tuple[bool, str]:
    """Whether it serves, and what it said. Raises `OSError`."""
    reader, writer = await asyncio.open_connection(ip, port)
    try:
        return await _Exchange(service, f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}").run(reader, writer)
    except ProtocolError:
        return False, "not an HTTP/2 server"
    finally:
        writer.transport.abort()


class _Exchange:
    def __init__(self, service: str, authority: str) -> None:
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._http.initiate_connection()
        self._http.send_headers(
            1,
            [
                (":method", "POST"), (":scheme", "http"), (":path", "/grpc.health.v1.Health/Check"),
                (":authority", authority), ("te", "trailers"), ("content-type", "application/grpc"),
                ("user-agent", "hivemind-health"),
            ],
        )  # fmt: skip
        self._http.send_data(1, _request(service), end_stream=True)
        self._headers: dict[str, str] = {}
        self._body = b""
        self._over = ""
        """Why nothing more will come."""

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bool, str]:
        while not self._over:
            writer.write(self._http.data_to_send())
            chunk = await reader.read(_CHUNK)
            if not chunk:
                self._over = "closed without an answer"
                break
            for event in self._http.receive_data(chunk):
                self._take(event)
        return self._verdict()

    def _take(self, event: Event) -> None:
        if isinstance(event, ResponseReceived | TrailersReceived):
            self._headers |= {str(name): str(value) for name, value in event.headers}
        elif isinstance(event, DataReceived):
            self._body += event.data
            self._http.acknowledge_received_data(event.flow_controlled_length, 1)
            if len(self._body) > _LONGEST:
                self._over = "the answer is endless"
        elif isinstance(event, StreamEnded):
            self._over = "ended"
        elif isinstance(event, StreamReset | ConnectionTerminated):
            self._over = self._over or "it broke off"

    def _verdict(self) -> tuple[bool, str]:
        status = self._headers.get("grpc-status", "")
        if status not in ("", "0"):
            said = _CODES.get(status) or self._headers.get("grpc-message") or f"gRPC status {status}"
            return False, said[:200]
        if self._headers.get(":status", "200") != "200":
            return False, f"HTTP status {self._headers[':status']}"
        if self._over != "ended":
            return False, self._over
        if status == "":
            return False, "not a gRPC answer"
        state = _state(self._body)
        return state == 1, _STATES.get(state, f"state {state}")


def _request(service: str) -> bytes:
    """HealthCheckRequest {service = 1} in gRPC's frame: not compressed, its length, the message."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


def _state(body: bytes) -> int:
    """The `status` (field 1) of a HealthCheckResponse; 0, as protobuf has it, when it is left out; -1: not one."""
    message = body[5 : 5 + int.from_bytes(body[1:5], "big")]
    if len(body) < 5 or body[0] != 0:
        return -1
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))
