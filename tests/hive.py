"""A hive in a box: state driven by operations, with nodes that report what one tells them to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.app import App, AppManifest, AppSpec
from hivemind.model.principal import Principal, Role
from hivemind.model.project import ProjectManifest
from hivemind.state.operations import (
    AllocationReport,
    DeployApp,
    Operation,
    PutProject,
    RegisterNode,
    RegisterPrincipal,
    ReportAllocations,
    decode_operation,
    encode_operation,
)
from hivemind.state.state import Outcome, Signed, State

ADMIN = "admin-key"
GIB = 2**30


class Hive:
    """Every operation travels encoded, as it does in the ledger."""

    def __init__(self, nodes: int = 1, *, cpus: float = 4.0, memory: int = 8 * GIB) -> None:
        self.state = State("testhive")
        self.time = 1_000_000
        self.count = 0
        self.do(
            RegisterPrincipal(principal=Principal(id=ADMIN, name="admin", kind="person", role=Role.ADMIN))
        )
        self.do(PutProject(manifest=ProjectManifest(name="default")))
        for index in range(nodes):
            self.join(f"node-{index}", cpus=cpus, memory=memory)

    def join(self, name: str, *, cpus: float = 4.0, memory: int = 8 * GIB, **more: Any) -> None:
        self.do(RegisterPrincipal(principal=Principal(id=name, name=name, kind="node")))
        more.setdefault("runtimes", ("oci", "process"))
        self.do(RegisterNode(id=name, name=name, cpus=cpus, memory=memory, **more), by=name)

    def do(self, operation: Operation, *, by: str = ADMIN, refused: bool = False, nonce: str = "") -> Outcome:
        self.count += 1
        self.time += 10
        travelled = decode_operation(encode_operation(operation))
        signed = Signed(by, nonce or str(self.count), travelled)
        [outcome] = self.state.apply(self.state.sequence + 1, self.time, [signed])
        assert bool(outcome.code) == refused, outcome
        return outcome

    def wait(self, seconds: float) -> None:
        """A tick of the ledger's timer."""
        self.time += int(seconds * 1000)
        self.state.apply(self.state.sequence + 1, self.time, [])

    def deploy(self, name: str = "web", *, replicas: int = 1, refused: bool = False, **spec: Any) -> Outcome:
        spec.setdefault("image", "web:1")
        manifest = AppManifest(name=name, replicas=replicas, spec=AppSpec(**spec))
        return self.do(DeployApp(project="default", manifest=manifest), refused=refused)

    def app(self, name: str = "web") -> App:
        app = self.state.find_app("default", name)
        assert app
        return app

    def allocations(self, name: str = "web") -> list[Allocation]:
        return self.state.allocations_of(self.app(name).id)

    def live(self, name: str = "web") -> list[Allocation]:
        return [a for a in self.allocations(name) if a.live]

    def report(self, which: Callable[[Allocation], bool], state: AllocationState, **said: Any) -> int:
        """Reports about every live placed allocation that `which` picks; how many there were."""
        chosen = [a for a in self.state.allocations.values() if a.live and a.node and which(a)]
        for node in sorted({a.node for a in chosen}):
            reports = tuple(AllocationReport(id=a.id, state=state, **said) for a in chosen if a.node == node)
            self.do(ReportAllocations(node=node, reports=reports), by=node)
        return len(chosen)

    def stops_done(self) -> int:
        return self.report(lambda a: a.desired is Desired.STOP, AllocationState.STOPPED)

    def starts_done(self) -> int:
        return self.report(
            lambda a: a.desired is Desired.RUN and a.state is AllocationState.PLACED, AllocationState.HEALTHY
        )

    def settle(self) -> None:
        """All goes well until nothing changes any more."""
        for _ in range(10_000):
            if not (self.stops_done() + self.starts_done()):
                return
        raise AssertionError("it never comes to rest")
