"""The shared store: what nodes see, as one sorted view over every writer's signed log.

Keys are `/`-separated text; values are bytes (JSON of a model struct). A writer only ever appends to its own
log; the view of a key is the latest entry for it. Reads are from memory and never wait. Writes show at once
in the local view and become durable soon after (`flush` waits for that): observations can be observed again.

The entries of all nodes of the hive are in the view. Which of two entries of a key counts is the same everywhere:
the one whose writer had seen the other; if neither had, one of them. Nodes that were apart see each other's
entries seconds after they meet again. What a node wrote disappears when it leaves the hive.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Protocol

from hivemind.protocols.autobee.entry import Entry as Entry


class Store(Protocol):
    writer: str

    def put(self, key: str, value: bytes) -> None: ...

    def delete(self, key: str) -> None: ...

    def write(self, batch: Mapping[str, bytes | None]) -> None:
        """All of it appears at once, everywhere; None deletes, also what another node wrote."""

    def get(self, key: str) -> Entry | None: ...

    def range(
        self, prefix: str, *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """Live entries whose key starts with `prefix`, in key order, beyond `after`."""

    def subscribe(self, prefix: str, callback: Callable[[Iterable[Entry]], None]) -> Callable[[], None]:
        """Calls back in the writer's turn of the loop with each batch that touches `prefix`; returns the undo.
        An entry without a value says that the key is gone, whoever wrote it last."""

    def watch(self, prefix: str) -> AsyncIterator[Entry]:
        """Every later change under `prefix`."""

    async def flush(self) -> None: ...

    async def close(self) -> None: ...
