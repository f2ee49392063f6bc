"""Certifies the logs of the store: voters write to it what they have of each, and what a quorum of them has is final.

What a voter attests stands in its own signed log, under `attested/<voter>/<first digit of the writers>`: that is how
everyone hears of it, also a node that starts again or joins later. Nothing of this needs the ledger but who votes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from hivemind.protocols.autobee.attesting import (
    Attested,
    Certified,
    certified,
    decode_attested,
    encode_attested,
)
from hivemind.store.contract import Store

_PREFIX = "attested/"
EVERY = 30.0
"""Seconds."""


class Logs(Store, Protocol):
    """What it needs of the shared store."""

    def attest(self) -> tuple[Attested, ...]: ...

    def certify(self, logs: Sequence[Certified]) -> None: ...


class Certifier:
    """`voters`: the ids of those that decide now; `quorum`: how many of so many are enough."""

    def __init__(
        self,
        store: Logs,
        voters: Callable[[], Sequence[str]],
        quorum: Callable[[int], int],
        every: float = EVERY,
    ) -> None:
        self._store, self._voters, self._quorum, self._every = store, voters, quorum, every
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.look()
        self._timer = asyncio.get_running_loop().call_later(self._every, self.start)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """Says what has changed, and takes note of what others say."""
        voters = self._voters()
        self._say(self._store.attest() if self._store.writer in voters else ())
        said = {voter: self._heard(voter) for voter in voters}
        self._store.certify(certified(said, self._quorum(len(voters))) if voters else ())

    def _say(self, attested: Iterable[Attested]) -> None:
        own = f"{_PREFIX}{self._store.writer}/"
        parts: dict[str, list[Attested]] = {}
        for each in attested:
            parts.setdefault(own + each.writer[0], []).append(each)
        wanted: Mapping[str, bytes] = {key: encode_attested(part) for key, part in parts.items()}
        written = {e.key: e.value for e in self._store.range(own) if e.writer == self._store.writer}
        news: dict[str, bytes | None] = {k: v for k, v in wanted.items() if written.get(k) != v}
        news |= {key: None for key in written if key not in wanted}
        if news:
            self._store.write(news)

    def _heard(self, voter: str) -> list[Attested]:
        """What that voter says itself: others may have written at its place."""
        return [
            each
            for entry in self._store.range(f"{_PREFIX}{voter}/")
            if entry.writer == voter and entry.value
            for each in decode_attested(entry.value)
        ]
