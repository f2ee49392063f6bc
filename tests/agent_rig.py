"""An agent in a box: a real agent with real workers, store and state, on a machine and a network in memory.

The machine, the network, the store and the agreed state outlive an agent: `kill` drops it in the middle of
whatever it does, and `start` brings a new one. Meant to run in a `VirtualLoop`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hive import Hive
from hivemind.agent.agent import Agent
from hivemind.agent.fence import Hearing
from hivemind.drivers.network.contract import Published
from hivemind.drivers.network.fake import FakeNetwork
from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.fake import FakeMachine, FakeRuntime
from hivemind.model.allocation import Allocation, AllocationStatus, Phase
from hivemind.model.base import decode
from hivemind.model.deployment import DeploymentState
from hivemind.model.event import Event
from hivemind.model.principal import Principal
from hivemind.protocols.dns.zone import Zone
from hivemind.security.identity import Identity
from hivemind.state.operations import Operation, RegisterNode, RegisterPrincipal, ReportAllocations
from hivemind.state.state import Outcome
from hivemind.store.events import EventLog
from hivemind.store.shared import SharedStore
from virtual_time import VirtualLoop

IDENTITY = Identity(bytes(range(32)))
NODE = IDENTITY.public
SERVE = ("sh", "-c", "while :; do sleep 3600; done")
"""Runs until it is told to stop, and does what it is told at once."""
STUBBORN = ("sh", "-c", "trap '' TERM ; while :; do sleep 3600; done")
IMAGE = "web:1"


class Rig:
    """Use `rig(path)`."""

    def __init__(self, store: SharedStore, loop: VirtualLoop, path: Path) -> None:
        self.path = path
        self.loop = loop
        self.store = store
        self.hive = Hive(nodes=0)
        self.hive.do(RegisterPrincipal(principal=Principal(id=NODE, name="node-0", kind="node")))
        self.hive.do(
            RegisterNode(id=NODE, name="node-0", cpus=64, memory=2**40, runtimes=("fake", "process")), by=NODE
        )
        self.machine = FakeMachine(loop.milliseconds)
        self.machine.add_image(IMAGE)
        self.network = FakeNetwork()
        self.zone = Zone.build()
        self.reports: list[tuple[str, str]] = []
        """(state, reason) of every report that the hive took, in order."""
        self.agent: Agent | None = None
        self.boots = 0
        self.hearing: Hearing | None = None
        """What the node knows of what others decide."""

    async def start(self, networks: dict[str, FakeNetwork] | None = None, **runtimes: FakeRuntime) -> Agent:
        """A new agent, which adopts what it finds."""
        await self.network.open()
        self.agent = Agent(
            node=NODE,
            node_name="node-0",
            state=self.hive.state,
            store=self.store,
            events=EventLog(self.store, NODE, self.loop.milliseconds),
            runtimes=runtimes or {"fake": FakeRuntime(self.machine)},
            networks=networks or {"fake": self.network},
            submit=self._submit,
            set_zone=self._set_zone,
            attempts=self.path / "attempts",
            hearing=self.hearing,
            boot=f"boot-{self.boots}",
            now=self.loop.time,
            clock=self.loop.milliseconds,
        )
        await self.agent.start()
        return self.agent

    async def kill(self) -> None:
        agent, self.agent = self.agent, None
        if agent:
            await agent.stop()

    async def reboot(self, **runtimes: FakeRuntime) -> None:
        """The power goes off and on: nothing runs any more, and nobody knows how it ended."""
        await self.kill()
        for id in self.running():
            self.machine.crash(id, code=None, reason="the machine was started anew")
        self.boots += 1
        await self.start(**runtimes)

    async def _submit(self, operation: ReportAllocations) -> Outcome:
        await asyncio.sleep(0)
        self.reports += [(r.state.name + " failing" * r.failing, r.reason) for r in operation.reports]
        return self.do(operation, by=NODE)

    def do(self, operation: Operation, **more: Any) -> Outcome:
        """Agreed, and the agent knows."""
        self.hive.time = max(self.hive.time, self.loop.milliseconds())
        outcome = self.hive.do(operation, **more)
        if self.agent:
            self.agent.agreed()
        return outcome

    def deploy(self, name: str = "web", *, replicas: int = 1, **spec: Any) -> Outcome:
        spec.setdefault("image", IMAGE)
        spec.setdefault("command", SERVE)
        self.hive.time = max(self.hive.time, self.loop.milliseconds())
        spec.setdefault("runtime", "fake")
        outcome = self.hive.deploy(name, replicas=replicas, **spec)
        if self.agent:
            self.agent.agreed()
        return outcome

    def _set_zone(self, zone: Zone) -> None:
        self.zone = zone

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def allocations(self) -> list[Allocation]:
        """Of all apps, oldest attempt first."""
        return sorted(self.hive.state.allocations.values(), key=lambda a: (a.app, a.attempt))

    @property
    def newest(self) -> Allocation:
        return self.allocations[-1]

    def status(self, allocation: str = "") -> AllocationStatus:
        """As everybody sees it in the store."""
        entry = self.store.get(f"allocation/{allocation or self.newest.id}")
        return decode(entry.value, AllocationStatus) if entry and entry.value else AllocationStatus()

    def running(self, allocation: str = "") -> list[str]:
        """Ids of the containers that run; of all allocations, or of one."""
        return [
            id
            for id, container in self.machine.containers.items()
            if container.process and not container.exit and id.startswith(allocation)
        ]

    def spec(self, container: str) -> ContainerSpec:
        return self.machine.containers[container].spec

    def calls(self, *methods: str) -> list[tuple[str, str]]:
        """What was asked of the runtime: (method, instance number or what else it was about)."""
        return [(method, what.rpartition(".")[2]) for method, what in self.machine.calls if method in methods]

    def events(self) -> list[Event]:
        return EventLog(self.store, NODE, self.loop.milliseconds).since()

    def published(self, port: int) -> tuple[tuple[str, int], ...] | None:
        return self.network.published.get(Published("tcp", port))

    def deployment(self, outcome: Outcome) -> tuple[DeploymentState, str]:
        found = self.hive.state.deployments[outcome.deployment]
        return found.state, found.reason

    # -- waiting, in virtual time ----------------------------------------------------------------------------

    async def until(self, condition: Callable[[], object], seconds: float = 600.0) -> None:
        end = self.loop.time() + seconds
        while not condition():
            assert self.loop.time() < end, f"it did not come so within {seconds} s"
            await asyncio.sleep(0.01)

    async def healthy(self, count: int = 1) -> None:
        await self.until(lambda: sum(a.state.name == "HEALTHY" for a in self.hive.live()) == count)

    async def phase(self, phase: Phase, allocation: str = "") -> None:
        await self.until(lambda: self.status(allocation).phase is phase)

    async def rest(self, seconds: float = 10.0) -> None:
        """Time for things that must not happen to happen."""
        await asyncio.sleep(seconds)


@asynccontextmanager
async def rig(path: Path) -> AsyncIterator[Rig]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    store = await SharedStore.open(path / "store.db", IDENTITY, clock=loop.milliseconds)
    made = Rig(store, loop, path)
    try:
        yield made
    finally:
        await made.kill()
        for instance in made.machine.containers.values():
            if instance.task:
                instance.task.cancel()
        await store.close()
