"""etcd's v3 API as JSON over HTTP/1.1: `/v3/kv/range`, `/v3/kv/txn`, `/v3/watch`. Keys and values are in base64,
numbers of 64 bits are strings.

One connection for each request: an ordering request costs several fsyncs in etcd, beside which a connection in the
same network is nothing, and there is no state to mend after an error.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httptools

from hivemind.errors import Unavailable
from hivemind.ledger.etcd.settings import Etcd

_LARGEST = 64 * 2**20
_READ = 64 * 2**10
_SILENCE = 20.0
"""Seconds after which a watch without a word is made anew: the other end may be gone without one."""


class Gateway:
    def __init__(self, settings: Etcd) -> None:
        self._settings = settings
        self._turn = 0
        self._tls = _context(settings)

    async def range(self, first: str, end: str, limit: int) -> tuple[list[tuple[str, bytes]], int]:
        """Keys from `first` up to, without, `end` in their order with their values, and the store's revision."""
        answer = await self.ask(
            "/v3/kv/range", {"key": coded(first), "range_end": coded(end), "limit": str(limit)}
        )
        pairs = [
            (decoded(pair["key"]).decode(), decoded(pair.get("value", ""))) for pair in answer.get("kvs", [])
        ]
        return pairs, int(answer["header"]["revision"])

    async def create(self, key: str, value: bytes) -> bool:
        """Puts it if there is none; whether it did. After an error nobody knows: look."""
        answer = await self.ask(
            "/v3/kv/txn",
            {
                "compare": [
                    {"key": coded(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
                ],
                "success": [{"request_put": {"key": coded(key), "value": base64.b64encode(value).decode()}}],
            },
        )
        return bool(answer.get("succeeded"))

    async def delete(self, first: str, end: str) -> None:
        await self.ask("/v3/kv/deleterange", {"key": coded(first), "range_end": coded(end)})

    async def ask(self, path: str, question: dict[str, Any]) -> dict[str, Any]:
        """Raises `Unavailable` when no endpoint answers in time."""
        problem: Exception | None = None
        for _ in self._settings.endpoints:
            endpoint = self._settings.endpoints[self._turn % len(self._settings.endpoints)]
            try:
                async with (
                    asyncio.timeout(self._settings.timeout),
                    self._posted(endpoint, path, question) as body,
                ):
                    return _object(b"".join([piece async for piece in body]))
            except (OSError, TimeoutError, ValueError, Unavailable) as error:
                problem = error
                self._turn += 1
        raise Unavailable(
            f"etcd does not answer: {problem or 'no endpoint'!r}",
            hint=f"see whether it runs at {', '.join(self._settings.endpoints)}",
        )

    async def watch(self, first: str, end: str, revision: int) -> AsyncIterator[None]:
        """Yields once it watches, and after each change of those keys from that revision on, until the connection
        breaks or is silent for long."""
        endpoint = self._settings.endpoints[self._turn % len(self._settings.endpoints)]
        question = {
            "create_request": {
                "key": coded(first), "range_end": coded(end), "start_revision": str(revision), "progress_notify": True,
            }
        }  # fmt: skip
        with contextlib.suppress(OSError, TimeoutError, ValueError, Unavailable):
            async with self._posted(endpoint, "/v3/watch", question) as body:
                while True:
                    async with asyncio.timeout(_SILENCE):
                        await anext(body)
                    yield
        self._turn += 1

    @contextlib.asynccontextmanager
    async def _posted(
        self, endpoint: str, path: str, question: dict[str, Any]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        where = urlsplit(endpoint)
        secure = where.scheme == "https"
        reader, writer = await asyncio.open_connection(
            where.hostname, where.port or 2379, ssl=self._tls if secure else None, limit=_READ
        )
        try:
            body = json.dumps(question).encode()
            head = (
                f"POST {path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
            yield _body(reader)
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()


class _Answer:
    """What `httptools` tells of a response."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.done = False

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.done = True


async def _body(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Piece by piece, as they come. Raises `Unavailable` for an answer that is an error."""
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    size = 0
    while not answer.done:
        data = await reader.read(_READ)
        if not data:
            raise Unavailable("the connection to etcd broke")
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Unavailable(f"this is no etcd: {error}") from None
        pieces, answer.pieces = answer.pieces, []
        if parser.get_status_code() != 200 and (pieces or answer.done):
            said = b"".join(pieces)[:300].decode(errors="replace")
            raise Unavailable(f"etcd refuses: {parser.get_status_code()} {said}")
        for piece in pieces:
            size += len(piece)
            if size > _LARGEST:
                raise Unavailable("etcd's answer has no end")
            yield piece


def _object(data: bytes) -> dict[str, Any]:
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _context(settings: Etcd) -> ssl.SSLContext | None:
    if not any(endpoint.startswith("https:") for endpoint in settings.endpoints):
        return None
    context = ssl.create_default_context(cafile=settings.ca or None)
    if settings.certificate:
        context.load_cert_chain(settings.certificate, settings.key or None)
    return context


def coded(key: str) -> str:
    return base64.b64encode(key.encode()).decode()


def decoded(text: str) -> bytes:
    return base64.b64decode(text)
