"""A server on private sockets in a thread of its own, so that tests speak to it as programs do."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hivemind.api.server import ApiServer
from hivemind.api.settings import ApiSettings
from hivemind.client import Hivemind
from hivemind.security.identity import Identity
from tests.unit.api.backend import ADMIN, MemoryBackend

T = TypeVar("T")


class Running:
    """`backend` belongs to the server's thread: touch it by `do` and `run`."""

    def __init__(self, settings: ApiSettings) -> None:
        self.settings = settings
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.clients: list[Hivemind] = []
        self.backend, self.server = self.run(self._start())

    async def _start(self) -> tuple[MemoryBackend, ApiServer]:
        backend = MemoryBackend()
        server = ApiServer(backend, self.settings)
        await server.start()
        return backend, server

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def do(self, action: Callable[..., T], *args: Any, **more: Any) -> T:
        async def inside() -> T:
            return action(*args, **more)

        return self.run(inside())

    @property
    def local(self) -> Hivemind:
        return self._client(f"unix://{self.settings.socket}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def remote(self, who: Identity | None = ADMIN) -> Hivemind:
        return self._client(self.url, token=who.token() if who else "")

    def _client(self, endpoint: str, **more: Any) -> Hivemind:
        self.clients.append(Hivemind(endpoint, timeout=10, **more))
        return self.clients[-1]

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.run(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)
        self.loop.close()


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A socket's path has at most 107 bytes; pytest's own directories may be longer."""
    made = Path(tempfile.mkdtemp(prefix="hm-api-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def running(short_dir: Path) -> Iterator[Running]:
    server = Running(ApiSettings(socket=str(short_dir / "run" / "api.sock"), port=0, heartbeat=0.2))
    yield server
    server.stop()
