"""What never happens to an app, whatever people and nodes do in whatever order."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hive import GIB, Hive
from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.app import Restart, Update
from hivemind.model.node import NodeManifest
from hivemind.model.template import Resources
from hivemind.state.operations import DrainNode, RestartApp, ScaleApp, StartApp, StopApp, UpdateNode
from hivemind.state.state import State


class Apps(RuleBasedStateMachine):
    @initialize(
        order=st.sampled_from(["start-first", "stop-first"]),
        parallel=st.integers(1, 3),
        policy=st.sampled_from(["always", "on-failure", "no"]),
    )
    def begin(self, order: str, parallel: int, policy: str) -> None:
        self.hive = Hive(nodes=3, memory=3 * GIB)
        self.parallel = parallel
        self.order = order
        self.spec = {
            "update": Update(order=order, max_parallel=parallel, healthy_deadline=60),
            "restart": Restart(policy=policy),
            "resources": Resources(memory=GIB // 2, cpus=0.5),
        }
        self.seen: dict[str, AllocationState] = {}
        self.version = 1
        self.hive.deploy(replicas=3, **self.spec)

    def drained(self, node: str) -> bool:
        return bool(node) and self.hive.state.nodes[node].drained

    def pick(self, number: int, wanted: str) -> Allocation | None:
        found = [a for a in self.hive.live() if a.node and a.desired == wanted]
        return found[number % len(found)] if found else None

    @rule(replicas=st.integers(0, 6))
    def deploy(self, replicas: int) -> None:
        self.version += 1
        self.hive.deploy(replicas=replicas, image=f"web:{self.version}", **self.spec)

    @rule(replicas=st.integers(0, 6))
    def scale(self, replicas: int) -> None:
        self.hive.do(ScaleApp(project="default", name="web", replicas=replicas))

    @rule(verb=st.sampled_from([StopApp, StartApp, RestartApp]))
    def verb(self, verb: type) -> None:
        self.hive.do(verb(project="default", name="web"))

    @rule(number=st.integers(0, 20))
    def gets_healthy(self, number: int) -> None:
        chosen = self.pick(number, Desired.RUN)
        if chosen:
            self.hive.report(lambda a: a.id == chosen.id, AllocationState.HEALTHY)

    @rule(number=st.integers(0, 20))
    def keeps_failing(self, number: int) -> None:
        chosen = self.pick(number, Desired.RUN)
        if chosen:
            self.hive.report(
                lambda a: a.id == chosen.id, AllocationState.PLACED, failing=True, reason="crash"
            )

    @rule(number=st.integers(0, 20), code=st.integers(0, 1))
    def ends(self, number: int, code: int) -> None:
        if self.spec["restart"].policy == "always":
            return
        chosen = self.pick(number, Desired.RUN)
        if chosen:
            state = AllocationState.FAILED if code else AllocationState.COMPLETE
            self.hive.report(lambda a: a.id == chosen.id, state, exit_code=code)

    @rule(number=st.integers(0, 20))
    def is_gone(self, number: int) -> None:
        chosen = self.pick(number, Desired.STOP)
        if chosen:
            self.hive.report(lambda a: a.id == chosen.id, AllocationState.STOPPED)

    @rule(node=st.integers(0, 2), back=st.booleans())
    def drain(self, node: int, back: bool) -> None:
        name = f"node-{node}"
        if back:
            self.hive.do(UpdateNode(manifest=NodeManifest(name=name)))
        else:
            self.hive.do(DrainNode(name=name))

    @rule(seconds=st.sampled_from([1, 61]))
    def time_passes(self, seconds: int) -> None:
        self.hive.wait(seconds)

    @rule()
    def restart_of_the_daemon(self) -> None:
        digest = self.hive.state.digest()
        deadline = self.hive.state.deadline()
        self.hive.state = State.restore(self.hive.state.snapshot())
        assert self.hive.state.digest() == digest
        assert self.hive.state.deadline() == deadline

    @precondition(lambda self: hasattr(self, "hive"))
    @rule()
    def all_goes_well(self) -> None:
        """Then it converges: as many healthy replicas as wanted, of one revision, and nothing else."""
        for node in range(3):
            self.hive.do(UpdateNode(manifest=NodeManifest(name=f"node-{node}")))
        self.hive.settle()
        app = self.hive.app()
        live = self.hive.live()
        wanted = 0 if app.stopped else app.replicas
        finished = {
            a.slot
            for a in self.hive.allocations()
            if a.revision == app.revision and a.state in (AllocationState.COMPLETE, AllocationState.FAILED)
        }
        assert {a.revision for a in live} <= {app.revision}
        assert {a.slot for a in live} | finished >= set(range(wanted))
        assert all(a.state is AllocationState.HEALTHY for a in live)
        assert self.hive.state.running_deployment(app.id) is None

    @invariant()
    def states_only_ascend(self) -> None:
        if hasattr(self, "hive"):
            for allocation in self.hive.allocations():
                assert allocation.state >= self.seen.get(allocation.id, allocation.state)
                self.seen[allocation.id] = allocation.state

    @invariant()
    def no_node_is_overcommitted(self) -> None:
        if hasattr(self, "hive"):
            for node in self.hive.state.nodes.values():
                mine = [a for a in self.hive.state.allocations_on(node.id) if a.live]
                assert len(mine) * (GIB // 2) <= node.memory
                assert len(mine) * 0.5 <= node.cpus

    @invariant()
    def attempts_of_a_slot_are_unique_and_at_most_one_of_a_revision_is_wanted(self) -> None:
        if hasattr(self, "hive"):
            found = self.hive.allocations()
            assert len({a.attempt for a in found}) == len(found)
            wanted = Counter(
                (a.slot, a.revision)
                for a in found
                if a.live and a.desired is Desired.RUN and not self.drained(a.node)
            )
            assert all(count == 1 for count in wanted.values()), wanted

    @invariant()
    def the_incremental_digest_is_that_of_a_fresh_copy(self) -> None:
        if hasattr(self, "hive"):
            assert self.hive.state.fork().digest() == self.hive.state.digest()


Apps.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestApps = Apps.TestCase
