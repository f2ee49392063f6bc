"""What the API needs of the node it speaks for. The daemon provides it; tests bring their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from hivemind.api.clusterdesk import ClusterDesk
from hivemind.api.imagedesk import ImageDesk
from hivemind.api.jobs.desk import AttemptDesk
from hivemind.api.remote.remote import Remote
from hivemind.api.volumedesk import VolumeDesk
from hivemind.drivers.runtimes.contract import (
    ExecSession,
    ExecSpec,
    FileChange,
    LogLine,
    LogQuery,
    ProcessInfo,
    Stats,
)
from hivemind.model.allocation import CheckResult
from hivemind.model.answers import Info
from hivemind.security.identity import Identity
from hivemind.security.sealing import Vault
from hivemind.state.operations import Operation
from hivemind.state.state import Outcome, State
from hivemind.state.tables import Change
from hivemind.store.contract import Store

__all__ = ["Backend", "Info"]


class Looking(Protocol):
    """What can be seen of the allocations that this node runs; `container`: a companion's name, or the app's own.

    All raise `NotFound` for what is not here."""

    async def attach(self, allocation: str, container: str = "") -> ExecSession:
        """Raises `Conflict` when it does not run."""

    def expect(self, project: str, app: str) -> AbstractContextManager[asyncio.Future[ExecSession]]:
        """The next container that the app starts here, attached before it starts."""

    async def processes(self, allocation: str, container: str = "") -> list[ProcessInfo]: ...

    async def changes(self, allocation: str, container: str = "") -> list[FileChange]: ...

    def read_files(self, allocation: str, path: str, container: str = "") -> AsyncIterator[bytes]:
        """A tar, see `Runtime.read_files`."""

    async def write_files(
        self, allocation: str, path: str, chunks: AsyncIterator[bytes], container: str = ""
    ) -> None: ...

    def previous_logs(self, allocation: str, query: LogQuery, container: str = "") -> AsyncIterator[LogLine]:
        """Of the instance that ended last."""

    async def connect(self, allocation: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises `Conflict` when nothing listens there."""

    async def stats(self) -> dict[tuple[str, str], Stats]:
        """Of everything that runs here, by allocation."""


class Backend(Protocol):
    volumes: VolumeDesk
    state: State
    store: Store

    @property
    def administrator(self) -> Identity:
        """Whose key signs for a local administrator on the unix socket."""

    looking: Looking
    vault: Vault
    """Seals what must not be read in the ledger; done before the operation is signed."""

    attempts: AttemptDesk
    """Of tasks of jobs: what they left on this node."""

    @property
    def cluster(self) -> ClusterDesk:
        """The group of nodes that this one belongs to."""

    remote: Remote
    """The APIs of the other nodes."""

    @property
    def images(self) -> ImageDesk: ...

    def on_change(self, callback: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        """From now on it is called with what each batch changed in state. The answer ends that."""

    async def submit(self, operation: Operation, by: Identity, *, nonce: str = "") -> Outcome:
        """Signs, has it agreed and applied. Raises the error that the operation was refused with.

        The same `nonce` (from an Idempotency-Key) by the same identity gives the first outcome again."""

    async def report(self, operation: Operation) -> Outcome:
        """As `submit`, signed by the node itself: what it has noticed."""

    def ready(self) -> bool:
        """The node has caught up, its runtime and network work."""

    def info(self) -> Info: ...

    async def plan(self, operation: Operation, by: Identity) -> Sequence[dict[str, Any]]:
        """What `submit` would make the hive do: `{"action", "object", "node", "detail"}` for each step."""

    async def exec(self, allocation: str, spec: ExecSpec, container: str = "") -> ExecSession:
        """Raises `NotFound`; `Conflict` when it does not run."""

    def logs(self, allocation: str, query: LogQuery, container: str = "") -> AsyncIterator[LogLine]:
        """Over all instances of the allocation, ended ones too, as long as they are kept."""

    async def stats(self, allocation: str, container: str = "") -> Stats: ...

    def checks(self, allocation: str) -> list[CheckResult]:
        """What its checks found last, oldest first. `NotFound` when it is not on this node."""

    def metrics(self) -> str:
        """Prometheus text exposition 0.0.4."""
