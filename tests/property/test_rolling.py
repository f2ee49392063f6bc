"""What never happens to an app, whatever people and nodes do in whatever order."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hive import ADMIN, GIB, Hive
from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.app import AppSpec, Restart, Update
from hivemind.model.content import Piece
from hivemind.model.deployment import DeploymentState
from hivemind.model.node import NodeManifest
from hivemind.model.template import EnvFrom, Resources
from hivemind.state.operations import (
    DrainNode,
    Operation,
    PauseApp,
    PutContent,
    RestartApp,
    ResumeApp,
    RollbackApp,
    ScaleApp,
    StartApp,
    StopApp,
    UpdateNode,
)
from hivemind.state.state import Signed, State

PROGRESS = 100
"""Seconds."""


class Apps(RuleBasedStateMachine):
    @initialize(
        order=st.sampled_from(["auto", "start-first", "stop-first"]),
        parallel=st.integers(1, 3),
        surge=st.sampled_from([None, 0, 1, 2]),
        policy=st.sampled_from(["always", "on-failure", "no"]),
        back=st.booleans(),
    )
    def begin(self, order: str, parallel: int, surge: int | None, policy: str, back: bool) -> None:
        self.hive = Hive(nodes=3, memory=3 * GIB)
        self.update = Update(
            order="auto" if surge == 0 else order,
            max_parallel=parallel,
            max_surge=surge,
            healthy_deadline=60,
            progress_deadline=PROGRESS,
            auto_rollback=back,
        )
        self.spec = {
            "update": self.update,
            "restart": Restart(policy=policy),
            "resources": Resources(memory=GIB // 2, cpus=0.5),
            "env_from": (EnvFrom(secret="db"),),
        }
        self.order = AppSpec(image="web:1", update=self.update).order
        self.seen: dict[str, AllocationState] = {}
        self.version = 1
        self.paused_at = 0
        self.put_secret()
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

    @rule(verb=st.sampled_from([StopApp, StartApp, RestartApp, PauseApp, ResumeApp, RollbackApp]))
    def verb(self, verb: type) -> None:
        self.attempt(verb(project="default", name="web"))
        self.paused_at = self.paused_at or self.hive.app().revision if self.hive.app().paused else 0

    def attempt(self, operation: Operation) -> None:
        """It may be refused: then it must change nothing."""
        hive = self.hive
        hive.count, hive.time = hive.count + 1, hive.time + 10
        before = hive.app()
        [outcome] = hive.state.apply(
            hive.state.sequence + 1, hive.time, [Signed(ADMIN, str(hive.count), operation)]
        )
        assert not outcome.code or hive.app() == before

    @rule()
    def put_secret(self) -> None:
        self.version += 1
        value = str(self.version)
        data = {"password": Piece(value=value.encode(), digest=value)}
        self.hive.do(PutContent(kind="secret", project="default", name="db", data=data))

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
        if self.hive.app().paused:
            self.hive.do(ResumeApp(project="default", name="web"))
            self.paused_at = 0
        deployment = self.hive.state.deployment_of(self.hive.app())
        if deployment and deployment.state is DeploymentState.FAILED:
            self.hive.do(RestartApp(project="default", name="web"))
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
    def no_more_run_beside_each_other_than_the_surge_allows(self) -> None:
        if hasattr(self, "hive"):
            slots = Counter(
                a.slot for a in self.hive.live() if a.desired is Desired.RUN and not self.drained(a.node)
            )
            most = 0 if self.order == "stop-first" else self.update.max_parallel
            if self.update.max_surge is not None:
                most = min(most, self.update.max_surge)
            assert sum(count - 1 for count in slots.values()) <= most, slots

    @invariant()
    def what_serves_is_replaced_only_by_what_serves(self) -> None:
        """As far as the last batch tells."""
        if not hasattr(self, "hive"):
            return
        made_room = 0
        for change in self.hive.state.changes:
            old, new = change.old, change.new
            told = change.table == "allocations" and old and new and old.desired is not new.desired
            if not told or old.state is not AllocationState.HEALTHY or self.drained(old.node):
                continue
            made_room += new.reason.startswith("making room")
            if new.reason.startswith("replaced by"):
                done = (AllocationState.HEALTHY, AllocationState.COMPLETE)
                beside = [a for a in self.hive.allocations() if a.slot == new.slot and a.id != new.id]
                assert any(a.state in done for a in beside), (new, beside)
        assert made_room <= (self.update.max_parallel if self.order == "stop-first" else 0)

    @invariant()
    def a_pause_freezes(self) -> None:
        if not hasattr(self, "hive"):
            return
        app = self.hive.app()
        if app.paused and app.stable and app.revision not in (app.stable, self.paused_at):
            assert not [a for a in self.hive.allocations() if a.revision == app.revision]

    @invariant()
    def no_deployment_goes_on_without_progress(self) -> None:
        if hasattr(self, "hive") and not self.hive.app().paused:
            running = self.hive.state.running_deployment(self.hive.app().id)
            assert running is None or self.hive.state.time < running.progressed + PROGRESS * 1000

    @invariant()
    def a_failed_deployment_goes_back_to_the_last_good_one(self) -> None:
        if not hasattr(self, "hive"):
            return
        app = self.hive.app()
        for change in self.hive.state.changes:
            if change.table == "deployments" and change.new and change.new.state is DeploymentState.FAILED:
                back = bool(app.stable) and self.update.auto_rollback
                assert app.revision == (app.stable if back else change.new.target)

    @invariant()
    def whatever_is_pinned_is_there_and_nothing_else(self) -> None:
        if not hasattr(self, "hive"):
            return
        state = self.hive.state
        pinned = {revision.pins["secret/db"] for revision in state.revisions_of(self.hive.app())}
        newest = state.bundles["secret/default/db"].number
        assert set(state.content_numbers("secret", "default", "db")) == pinned | {newest}
        for allocation in self.hive.allocations():
            assert state.content(allocation, "secret/db")

    @invariant()
    def the_incremental_digest_is_that_of_a_fresh_copy(self) -> None:
        if hasattr(self, "hive"):
            assert self.hive.state.fork().digest() == self.hive.state.digest()


Apps.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestApps = Apps.TestCase
