"""What leaves for another node in one turn goes there as one message: it is sealed, carried and taken up once."""

from __future__ import annotations

from hivemind.ledger.links import SERVICE, Links
from hivemind.protocols.pbft.wire import together


class Outbox:
    def __init__(self, links: Links) -> None:
        self._links = links
        self._waiting: dict[str, list[bytes]] = {}

    def put(self, to: str, message: bytes) -> None:
        self._waiting.setdefault(to, []).append(message)

    def send(self) -> None:
        """Everything that was put in; to each node in its order."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        for to, messages in waiting.items():
            for message in together(messages):
                self._links.send(to, SERVICE, message)
