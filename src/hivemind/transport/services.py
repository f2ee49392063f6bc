"""Who serves what: the handlers that a node's connections call, by the service's name."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from hivemind.errors import Conflict, HivemindError, NotFound
from hivemind.transport.contract import Contact, Stream

_logger = logging.getLogger(__name__)

Hear = Callable[[str, bytes], None]
Answer = Callable[[str, bytes], Awaitable[bytes]]
Serve = Callable[[Stream], Awaitable[None]]
Welcome = Callable[[Contact], Awaitable[None]]
Watch = Callable[[str, bool], None]

_Handler = TypeVar("_Handler")


class Services:
    """At most one handler for each service of each kind. What registers returns its undo."""

    def __init__(self) -> None:
        self.hearing: dict[str, Hear] = {}
        self.answering: dict[str, Answer] = {}
        self.serving: dict[str, Serve] = {}
        self.welcoming: dict[str, Welcome] = {}
        self._watching: list[Watch] = []

    def on_message(self, service: str, handler: Hear) -> Callable[[], None]:
        return register(self.hearing, service, handler)

    def answer(self, service: str, handler: Answer) -> Callable[[], None]:
        return register(self.answering, service, handler)

    def accept(self, service: str, handler: Serve) -> Callable[[], None]:
        return register(self.serving, service, handler)

    def welcome(self, handler: Welcome) -> Callable[[], None]:
        return register(self.welcoming, "", handler)

    def on_connection(self, callback: Watch) -> Callable[[], None]:
        self._watching.append(callback)

        def undo() -> None:
            if callback in self._watching:
                self._watching.remove(callback)

        return undo

    def tell(self, node: str, connected: bool) -> None:
        """One that fails costs the others nothing."""
        for callback in tuple(self._watching):
            try:
                callback(node, connected)
            except Exception:
                _logger.exception("telling that node %s is connected: %s", node[:8], connected)


def register(handlers: dict[str, _Handler], service: str, handler: _Handler) -> Callable[[], None]:
    if service in handlers:
        raise Conflict(f"somebody serves {service or 'first contacts'} already", hint="end that one first")
    handlers[service] = handler

    def undo() -> None:
        if handlers.get(service) is handler:
            del handlers[service]

    return undo


def not_served(service: str) -> NotFound:
    return NotFound(f"nobody serves {service} there", hint="the other node may run another version")


def told(error: BaseException) -> HivemindError:
    """What the other side may know of an error: everything that was raised on purpose, of a defect only its kind."""
    if isinstance(error, HivemindError):
        return error
    return HivemindError(f"the other node failed: {type(error).__name__}", hint="its log says more")
