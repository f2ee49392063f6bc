"""Requests one after the other, each on a connection of its own, for as long as a `with` block lasts."""

from __future__ import annotations

import http.client
import threading
import time
from types import TracebackType

from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually

_PAUSE = 0.003
"""Seconds between two requests of one sender: a load, not an attack on a machine that others use too."""
_SENDERS = 3


class Load:
    """`answers` counts each page; `failures` names each request that got no good answer."""

    def __init__(self, daemon: Daemon, port: int) -> None:
        self._daemon = daemon
        self._port = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.answers: dict[str, int] = {}
        self.failures: list[str] = []
        self._senders = [threading.Thread(target=self._in_namespace) for _ in range(_SENDERS)]

    def __enter__(self) -> Load:
        for sender in self._senders:
            sender.start()
        eventually(lambda: self.answers or self.failures, "the first request")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for sender in self._senders:
            sender.join()

    def _in_namespace(self) -> None:
        self._daemon.within(self._send)

    def _send(self) -> None:
        while not self._over.wait(_PAUSE):
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            try:
                page = _page(connection)
            except (OSError, http.client.HTTPException) as problem:
                stage = "answering" if connection.sock else "connecting"
                with self._lock:
                    self.failures.append(f"{stage}: {problem!r} after {time.monotonic() - began:.2f}s")
                continue
            finally:
                connection.close()
            with self._lock:
                self.answers[page] = self.answers.get(page, 0) + 1


def _page(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/")
    answer = connection.getresponse()
    page = answer.read().decode()
    if answer.status != 200:
        raise http.client.HTTPException(f"{answer.status}: {page}")
    return page
