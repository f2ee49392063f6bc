"""How ledgers of one hive talk: what `transport.contract.Peers` offers, and no more than the ledger needs of it.

Messages carry agreement: small, best effort, in order while a connection lasts. Streams carry what is large: the
batches that somebody missed, and snapshots.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from hivemind.errors import Unavailable

SERVICE = "ledger"
H = TypeVar("H")


class Stream(Protocol):
    """Both ways, in order, whole messages of at most 1 MiB, with back-pressure."""

    @property
    def peer(self) -> str: ...

    async def send(self, message: bytes) -> None:
        """Raises `Unavailable` when the stream is broken."""

    async def receive(self) -> bytes | None:
        """None: the other side has finished. Raises `Unavailable` when the stream is broken."""

    async def finish(self) -> None: ...

    async def close(self) -> None: ...


class Links(Protocol):
    @property
    def node(self) -> str:
        """Its own id."""

    def send(self, to: str, service: str, message: bytes) -> bool:
        """Best effort. False: dropped at once."""

    def on_message(self, service: str, handler: Callable[[str, bytes], None]) -> Callable[[], None]:
        """`handler(sender, message)`, in the loop's turn; returns the undo."""

    async def open(self, to: str, service: str, *, timeout: float) -> Stream:
        """Raises `Unavailable` when there is no way there, `NotFound` when nobody serves that there."""

    def accept(self, service: str, handler: Callable[[Stream], Awaitable[None]]) -> Callable[[], None]:
        """`handler` runs as a task; the stream is closed when it ends."""


class Lines:
    """Links that may be put in later, and until then reach nobody."""

    def __init__(self, node: str) -> None:
        self.node = node
        self._links: Links | None = None
        self._message: dict[str, Callable[[str, bytes], None]] = {}
        self._stream: dict[str, Callable[[Stream], Awaitable[None]]] = {}
        self._undo: list[Callable[[], None]] = []
        self._unsaid: dict[str, tuple[str, bytes]] = {}
        """The last word to each node that nobody carried: without it an engine that began before would wait until it
        speaks again."""

    def connect(self, links: Links) -> None:
        self.disconnect()
        self._links = links
        self._undo = [links.on_message(SERVICE, self._heard), links.accept(SERVICE, self._asked)]
        unsaid, self._unsaid = self._unsaid, {}
        for to, (service, message) in unsaid.items():
            links.send(to, service, message)

    def disconnect(self) -> None:
        self._links = None
        for undo in self._undo:
            undo()
        self._undo = []

    def send(self, to: str, service: str, message: bytes) -> bool:
        if self._links is None:
            self._unsaid[to] = (service, message)
            return False
        return self._links.send(to, service, message)

    def on_message(self, service: str, handler: Callable[[str, bytes], None]) -> Callable[[], None]:
        self._message[service] = handler
        return lambda: _drop(self._message, service, handler)

    async def open(self, to: str, service: str, *, timeout: float) -> Stream:
        if self._links is None:
            raise Unavailable("this node does not talk to others yet", hint="try again in a moment")
        return await self._links.open(to, service, timeout=timeout)

    def accept(self, service: str, handler: Callable[[Stream], Awaitable[None]]) -> Callable[[], None]:
        self._stream[service] = handler
        return lambda: _drop(self._stream, service, handler)

    def _heard(self, sender: str, message: bytes) -> None:
        handler = self._message.get(SERVICE)
        if handler:
            handler(sender, message)

    async def _asked(self, stream: Stream) -> None:
        handler = self._stream.get(SERVICE)
        if handler:
            await handler(stream)


def _drop(handlers: dict[str, H], service: str, handler: H) -> None:
    if handlers.get(service) is handler:
        del handlers[service]
