"""What the API needs of the node it speaks for. The daemon provides it; tests bring their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from hivemind.drivers.runtimes.contract import ExecSession, ExecSpec, LogLine, LogQuery, OnProgress, Stats
from hivemind.model.answers import Info
from hivemind.model.image import Image
from hivemind.security.identity import Identity
from hivemind.security.sealing import Vault
from hivemind.state.operations import Operation
from hivemind.state.state import Outcome, State
from hivemind.store.contract import Store

__all__ = ["Backend", "Info"]


class Backend(Protocol):
    state: State
    store: Store
    administrator: Identity
    """Whose key signs for a local administrator on the unix socket."""
    vault: Vault
    """Seals what must not be read in the ledger; done before the operation is signed."""

    async def submit(self, operation: Operation, by: Identity, *, nonce: str = "") -> Outcome:
        """Signs, has it agreed and applied. Raises the error that the operation was refused with.

        The same `nonce` (from an Idempotency-Key) by the same identity gives the first outcome again."""

    def ready(self) -> bool:
        """The node has caught up, its runtime and network work."""

    def info(self) -> Info: ...

    async def plan(self, operation: Operation, by: Identity) -> Sequence[dict[str, Any]]:
        """What `submit` would make the hive do: `{"action", "object", "node", "detail"}` for each step."""

    async def exec(self, allocation: str, spec: ExecSpec) -> ExecSession:
        """Raises `NotFound`; `Conflict` when it does not run."""

    def logs(self, allocation: str, query: LogQuery) -> AsyncIterator[LogLine]:
        """Over all instances of the allocation, ended ones too, as long as they are kept."""

    async def stats(self, allocation: str) -> Stats: ...

    async def images(self) -> list[Image]: ...

    async def load_image(self, chunks: AsyncIterator[bytes]) -> list[Image]:
        """A `docker save` or OCI archive, plain, gzip or zstd compressed."""

    async def pull_image(self, reference: str, on_progress: OnProgress) -> Image: ...

    async def remove_image(self, reference: str) -> None:
        """Raises `Conflict` naming the apps that use it."""

    def metrics(self) -> str:
        """Prometheus text exposition 0.0.4."""
