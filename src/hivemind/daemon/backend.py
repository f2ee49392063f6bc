"""The node as the API sees it: see `api.backend.Backend`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

import hivemind
from hivemind.agent.agent import Agent
from hivemind.api.backend import Info, Looking
from hivemind.api.jobs.desk import AttemptDesk
from hivemind.api.remote.remote import Remote
from hivemind.api.volumedesk import VolumeDesk
from hivemind.daemon.assembly import Machinery
from hivemind.daemon.hive.cluster import Cluster
from hivemind.daemon.images import NodeImages
from hivemind.daemon.volumes import NodeVolumes
from hivemind.drivers.dns.server import NameServer
from hivemind.drivers.runtimes.contract import (
    ExecSession,
    ExecSpec,
    LogLine,
    LogQuery,
    Stats,
)
from hivemind.ledger.contract import Batch
from hivemind.model.allocation import CheckResult
from hivemind.security.identity import Identity
from hivemind.security.sealing import Vault
from hivemind.state.forecast import forecast
from hivemind.state.operations import Operation
from hivemind.state.state import Outcome, State
from hivemind.state.tables import Change
from hivemind.store.contract import Store

if TYPE_CHECKING:
    from hivemind.daemon.metrics import NodeMetrics

log = logging.getLogger(__name__)


class Submit(Protocol):
    def __call__(self, operation: Operation, by: Identity, nonce: str = "") -> Awaitable[Outcome]: ...


class House(Protocol):
    administrator: Identity


class NodeBackend:
    def __init__(
        self,
        *,
        node: str,
        node_name: str,
        started: int,
        state: State,
        store: Store,
        house: House,
        cluster: Cluster,
        remote: Remote,
        vault: Vault,
        submit: Submit,
        agent: Agent,
        machinery: Machinery,
        names: NameServer,
        dns: str,
        images: NodeImages,
        volumes: NodeVolumes,
        problems: tuple[str, ...],
        report: Callable[[Operation], Awaitable[Outcome]],
        subscribe: Callable[[Callable[[Batch], None]], Callable[[], None]],
    ) -> None:
        self.state = state
        self.store = store
        self.cluster = cluster
        self.remote = remote
        self._house = house
        self.vault = vault
        self.node = node
        self._node_name = node_name
        self._started = started
        self._submit = submit
        self._agent = agent
        self.looking: Looking = agent.looking
        self.attempts: AttemptDesk = agent.attempts
        self._machinery = machinery
        self._names = names
        self._dns = dns
        self.images = images
        self.volumes: VolumeDesk = volumes
        self._problems = problems
        self._report = report
        self._subscribe = subscribe
        self._measured: NodeMetrics | None = None

    @property
    def administrator(self) -> Identity:
        """Another one once the node has left the hive that it founded."""
        return self._house.administrator

    async def submit(self, operation: Operation, by: Identity, *, nonce: str = "") -> Outcome:
        """Refused at once when nobody could agree to it: what a person was told cannot be done must not be done later,
        when the others are back."""
        self.cluster.check_that_it_decides()
        return await self._submit(operation, by, nonce)

    async def report(self, operation: Operation) -> Outcome:
        return await self._report(operation)

    def on_change(self, callback: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        return self._subscribe(lambda batch: callback(self.state.changes))

    def ready(self) -> bool:
        return self.cluster.status().can_decide

    def info(self) -> Info:
        default = self._machinery.default
        return Info(
            version=hivemind.__version__,
            hive=self.state.hive,
            node=self.node,
            node_name=self._node_name,
            runtime=default,
            network=self._machinery.networks[default].name,
            started=self._started,
            sequence=self.state.sequence,
            digest=self.state.digest().hex(),
            dns=self._dns,
            problems=(
                *self._problems,
                *self._machinery.troubles(),
                *self.images.problems,
                *self.cluster.problems(),
            ),
        )

    async def plan(self, operation: Operation, by: Identity) -> list[dict[str, Any]]:
        # On a copy and in a thread: a plan for thousands of replicas takes seconds, and nobody else shall wait.
        steps = await asyncio.to_thread(forecast, self.state.fork(), operation, by.public)
        return [msgspec.to_builtins(step) for step in steps]

    async def exec(self, allocation: str, spec: ExecSpec, container: str = "") -> ExecSession:
        return await self._agent.exec(allocation, spec, container)

    def logs(self, allocation: str, query: LogQuery, container: str = "") -> AsyncIterator[LogLine]:
        return self._agent.logs(allocation, query, container)

    def checks(self, allocation: str) -> list[CheckResult]:
        return self._agent.checks(allocation)

    async def stats(self, allocation: str, container: str = "") -> Stats:
        return await self._agent.stats(allocation, container)

    def metrics(self) -> str:
        if self._measured is None:
            from hivemind.daemon.metrics import NodeMetrics

            self._measured = NodeMetrics(self.state, self.store, self._names, self.info(), self.cluster)
        return self._measured.registry.text()
