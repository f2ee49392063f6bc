"""Whatever happens to a hive: nodes join, get ready, are accused, lost, come back, leave, are expelled; voters rotate;
apps are deployed and scaled; time passes. What never happens stands in `Told.check`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grown_hive import GrownHive
from hivemind.model.allocation import AllocationState, Desired
from hivemind.model.hive import Epoch
from hivemind.model.node import NodeManifest
from hivemind.state.operations import (
    AccuseNode,
    ConfigureHive,
    DrainNode,
    ExpelNode,
    LeaveHive,
    Operation,
    UpdateNode,
)
from hivemind.state.state import Signed, State


class Told(GrownHive):
    """A hive with a twin that is fed alike, and with what is known of its past."""

    def __init__(self, rotation: int, require_bft: bool) -> None:
        self.twin: State | None = None
        self.made = 0
        self.epoch: Epoch | None = None
        self.following: Epoch | None = None
        super().__init__(rotation=rotation, require_bft=require_bft, rebalance=True, vote=False)
        self.twin = self.state.fork()
        self.deploy(replicas=6)

    def tried(self, operation: Operation, by: str = "admin-key") -> bool:
        """Accepted or refused, by both alike."""
        self.count += 1
        self.time += 10
        signed = [Signed(by, str(self.count), operation)]
        outcomes = self.state.apply(self.state.sequence + 1, self.time, signed)
        assert self.twin and self.twin.apply(self.state.sequence, self.time, signed) == outcomes
        self.check()
        return not outcomes[0].code

    def do(self, operation: Operation, *, by: str = "admin-key", **more: bool) -> None:  # type: ignore[override]
        if self.twin is None:
            super().do(operation, by=by)
        else:
            self.tried(operation, by)

    def wait(self, seconds: float) -> None:
        self.time += int(seconds * 1000)
        self.state.apply(self.state.sequence + 1, self.time, [])
        if self.twin:
            self.twin.apply(self.state.sequence, self.time, [])
        self.check()

    # -- what happens --------------------------------------------------------------------------------------

    def some(self, number: int) -> str:
        """Name of a node that there is."""
        there = sorted(name for name, id in self.ids.items() if id in self.state.nodes)
        return there[number % len(there)]

    def new(self, number: int) -> None:
        if len(self.state.nodes) < 12:
            self.made += 1
            self.admit(f"n{self.made}", role=("member", "member", "worker", "witness")[number % 4])

    def accused(self, number: int) -> None:
        node = self.node(self.some(number))
        accuser = self.record.epoch.voters[number // 16 % len(self.record.epoch.voters)]
        self.tried(AccuseNode(node=node.id, incarnation=node.incarnation), by=accuser)

    def vanish(self, number: int) -> None:
        """All voters miss it."""
        node = self.node(self.some(number))
        for voter in self.record.epoch.voters:
            self.tried(AccuseNode(node=node.id, incarnation=node.incarnation), by=voter)

    def back(self, number: int) -> None:
        name = self.some(number)
        self.register(name, incarnation=self.node(name).incarnation + 1)
        if number % 3:
            self.ready(name)

    def flaps(self, number: int) -> None:
        for _ in range(2):
            self.vanish(number)
            self.back(number)

    def go(self, number: int) -> None:
        self.tried(LeaveHive(node=self.some(number), force=number % 2 == 0))

    def expelled(self, number: int) -> None:
        if number % 4 == 0:
            self.tried(ExpelNode(node=self.some(number)))

    def fewer(self, number: int) -> None:
        self.tried(ConfigureHive(max_voters=1 + number % 8))

    def drained(self, number: int) -> None:
        self.tried(DrainNode(name=self.some(number), deadline=number % 2 * 60_000))

    def used(self, number: int) -> None:
        self.tried(UpdateNode(manifest=NodeManifest(name=self.some(number), schedulable=True)))

    def scaled(self, number: int) -> None:
        self.deploy(replicas=number % 12, image=f"web:{number % 3}")

    def passes(self, number: int) -> None:
        self.wait((0.0, 1.0, 6.0, 61.0, 3600.0)[number % 5])

    def soon(self, number: int) -> None:
        """As the ledger does: a batch when one is due."""
        for _ in range(number % 40):
            due = self.state.deadline()
            if due is None:
                return
            self.wait(max(due - self.time, 0) / 1000)

    def goes_well(self, number: int) -> None:
        for _ in range(number % 5):
            self.stops_done()
            self.starts_done()

    def restart(self, number: int) -> None:
        again = State.restore(self.state.snapshot())
        assert again.digest() == self.state.digest()
        assert again.deadline() == self.state.deadline()
        self.twin = again

    # -- what never happens --------------------------------------------------------------------------------

    def check(self) -> None:
        state = self.state
        assert self.twin and self.twin.digest() == state.digest()
        self.check_voters()
        for allocation in state.allocations.values():
            if allocation.live and allocation.node:
                assert allocation.node in state.nodes, "on a node that is none"
                assert not state.nodes[allocation.node].away, "on a node that is lost"
        for slot, count in Counter((a.app, a.slot) for a in state.allocations.values() if a.live).items():
            wanted = [
                a for a in state.allocations_in(*slot)
                if a.live and a.desired is Desired.RUN and not a.moving_to
            ]  # fmt: skip
            assert len(wanted) <= 2 and count <= 4
        assert len(state.about.moving) <= 1
        self.check_pending()

    def check_voters(self) -> None:
        hive = self.record
        before, self.epoch = self.epoch, hive.epoch
        following, self.following = self.following, hive.next
        assert hive.epoch.voters and list(hive.epoch.voters) == sorted(set(hive.epoch.voters))
        assert len(hive.epoch.voters) <= 8
        if before and hive.epoch != before:
            assert hive.epoch == following, "an epoch that nobody agreed on"
            assert hive.epoch.number == before.number + 1
            assert hive.epoch.since == self.state.sequence
        elif following:
            assert hive.next == following, "two changes in flight"
        if hive.next and not following:
            assert hive.next.since > self.state.sequence
            nodes, seated_now = self.state.nodes, hive.epoch.voters
            stay = [id for id in seated_now if id in nodes and not nodes[id].leaving]
            fewest = min(len(stay), hive.max_voters)
            assert len(hive.next.voters) >= fewest, "fewer voters by failure evidence"
            if hive.require_bft and len(hive.epoch.voters) > 1:
                assert len(hive.next.voters) >= 4
            seated = [self.state.nodes[id] for id in hive.next.voters if id in self.state.nodes]
            assert all(node.role != "worker" for node in seated)

    def check_pending(self) -> None:
        usable = [node for node in self.state.nodes.values() if node.usable]
        for id in self.state.pending:
            waiting = self.state.allocations[id]
            assert waiting.state is AllocationState.PENDING
            assert not usable, f"there is room: {waiting.reason}"
            assert waiting.reason.startswith("0 of ")


ACTIONS: list[Callable[[Told, int], None]] = [
    Told.new, Told.new, Told.new, Told.accused, Told.vanish, Told.flaps, Told.back, Told.back, Told.go, Told.expelled,
    Told.fewer, Told.drained, Told.used, Told.scaled, Told.passes, Told.soon, Told.soon, Told.goes_well,
    Told.goes_well, Told.restart,
]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rotation=st.sampled_from([0, 3_600_000]),
    require_bft=st.booleans(),
    history=st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 255)), min_size=5, max_size=60),
)
def test_what_never_happens_to_a_hive(
    rotation: int, require_bft: bool, history: list[tuple[Callable[[Told, int], None], int]]
) -> None:
    hive = Told(rotation, require_bft)
    for action, number in history:
        action(hive, number)
    # In the end all goes well: everybody is back, and everything is where it should be.
    for id in list(hive.state.about.away):
        if not hive.state.nodes[id].leaving:
            hive.back(sorted(n for n, i in hive.ids.items() if i in hive.state.nodes).index(hive.name(id)))
    for _ in range(200):
        hive.goes_well(4)
        due = hive.state.deadline()
        if due is None or due > hive.time + 3_000_000:
            break
        hive.wait(max(due - hive.time, 0) / 1000)
    assert hive.record.next is None
    if any(node.usable for node in hive.state.nodes.values()):
        healthy = [a for a in hive.live() if a.state is AllocationState.HEALTHY and a.desired is Desired.RUN]
        assert len(healthy) == hive.app().replicas


def test_such_histories_come_to_all_that_could_go_wrong() -> None:
    """What the histories above are made of does happen, so that passing them says something."""
    dice = random.Random(7)
    seen: Counter[str] = Counter()
    for _ in range(12):
        hive = Told(rotation=3_600_000, require_bft=False)
        for _ in range(60):
            dice.choice(ACTIONS)(hive, dice.randrange(256))
            seen["lost"] += sum(1 for node in hive.state.nodes.values() if node.lost)
            seen["held back"] += sum(1 for node in hive.state.nodes.values() if node.held_until)
            seen["leaving"] += len(hive.state.about.leaving)
            seen["moving"] += len(hive.state.about.moving)
            seen["killed"] += sum(1 for a in hive.state.allocations.values() if a.kill)
            seen["attempts lost"] += sum(
                1 for a in hive.state.allocations.values() if a.state is AllocationState.LOST
            )
        seen["expelled"] += len(hive.state.expulsions)
        for term in hive.state.terms.values():
            for what in ("came", "went", "is lost", "served its term", "made room"):
                seen[what] += what in term.reason
    assert len(seen) == 12 and all(seen.values()), seen
