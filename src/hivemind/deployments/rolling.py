"""The rolling strategy: replicas are replaced a few at a time, each new one healthy before the next old one goes.

A *slot* is one of the `replicas` places of an app. Within a slot an allocation of the wanted revision is
*fresh*, any other *stale*. Level-triggered: the plan depends only on what is there, so it is the same whether
it is made for the first time or after a crash, and a first deploy, a scale, a heal and a roll-back are one
rule.

Never: more than `max_parallel` slots in change because of an update; a stale healthy replica stopped before
its fresh one is healthy, or more than `max_surge` replicas wanted beyond `replicas` (start-first); a fresh replica
started beside its stale one (stop-first). Held (paused, or failed without a way back), no slot goes on to another
revision; each is healed with its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter

from hivemind.deployments.steps import Conclude, Halt, Place, Plan, Progress, Revert, Settle, Step
from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.app import App, AppSpec
from hivemind.model.deployment import Deployment, DeploymentState

_attempt = attrgetter("attempt")


class _Slot:
    """The allocations of one slot, sorted by what they mean."""

    def __init__(self, revision: int, leaving: frozenset[str], allocations: list[Allocation]) -> None:
        """One pass, because every plan looks at every slot, and an app may have thousands."""
        self.revision = revision
        self.fresh: list[Allocation] = []
        self.stale: list[Allocation] = []
        self.stopping: list[Allocation] = []
        self.last: Allocation | None = None
        """The newest of the wanted revision, ended or not."""
        self.healthy = False
        self.unsettled: list[Allocation] = []
        """The fresh ones that are not healthy yet."""
        for allocation in sorted(allocations, key=_attempt) if len(allocations) > 1 else allocations:
            if allocation.revision == revision:
                self.last = allocation
            if not allocation.live:
                continue
            if allocation.desired is Desired.STOP:
                self.stopping.append(allocation)
            elif allocation.revision == revision and allocation.node not in leaving:
                self.fresh.append(allocation)
                if allocation.state is AllocationState.HEALTHY:
                    self.healthy = True
                else:
                    self.unsettled.append(allocation)
            else:
                self.stale.append(allocation)

    @property
    def settled(self) -> bool:
        """One fresh healthy replica and nothing else that counts: there is nothing to do."""
        return self.healthy and not self.stale and len(self.fresh) == 1

    @property
    def finished(self) -> bool:
        """Its newest allocation ended by itself, and the restart policy leaves it at that."""
        return self.last is not None and self.last.state in (AllocationState.COMPLETE, AllocationState.FAILED)

    @property
    def done(self) -> bool:
        """A replica of the wanted revision is healthy here, or has ended for good."""
        return self.healthy or self.finished

    @property
    def served(self) -> bool:
        """What the slot is for is there, or was done: nothing stale is needed any more."""
        return self.healthy or (
            self.finished and self.last is not None and self.last.state is AllocationState.COMPLETE
        )

    @property
    def useless(self) -> list[Allocation]:
        """Stale ones that nobody misses: those that do not get healthy, and all but the best. A revision that was
        superseded on its way would otherwise leave a slot with two, and the next one make three of them."""
        best = max(self.stale, key=lambda a: (a.state, -a.attempt), default=None)
        return [a for a in self.stale if a is not best or a.failing or a.state is AllocationState.PENDING]

    @property
    def doubled(self) -> list[Allocation]:
        """All fresh ones but the best: a drained node that came back may hold a second."""
        if len(self.fresh) < 2:
            return []
        return sorted(self.fresh, key=lambda a: (a.state, a.attempt))[:-1]


def plan(
    app: App,
    spec: AppSpec,
    allocations: Sequence[Allocation],
    deployment: Deployment | None,
    now: int,
    leaving: frozenset[str] = frozenset(),
) -> Plan:
    """`spec` is that of `app.revision`; `deployment` the one that brings or brought it, if that is still known;
    `leaving` nodes being drained."""
    running = deployment if deployment and deployment.state is DeploymentState.RUNNING else None
    wanted = 0 if app.stopped or app.deleted else app.replicas
    slots: dict[int, list[Allocation]] = {index: [] for index in range(wanted)}
    surplus: list[Allocation] = []
    for allocation in allocations:
        slots.get(allocation.slot, surplus).append(allocation)
    why = "the app was deleted" if app.deleted else "the app was stopped" if app.stopped else "scaled down"
    steps: list[Step] = [
        Halt(a.id, why)
        for a in sorted(surplus, key=lambda a: a.attempt)
        if a.live and a.desired is Desired.RUN
    ]
    if app.deleted or app.stopped:
        # Nothing was proved about the revision, so it neither succeeded nor becomes one to fall back to.
        return Plan((*steps, Conclude(DeploymentState.SUPERSEDED, why)) if running else tuple(steps))
    held = _held(app, deployment)
    view = [
        _Slot(_kept(app, slots[index]) if held else app.revision, leaving, slots[index])
        for index in range(app.replicas)
    ]
    if running:
        steps += _progress(app, running, view)
    if running and not app.paused and (failure := _failure(spec, running, view, now)):
        steps.append(Conclude(DeploymentState.FAILED, failure))
        if app.stable and app.stable != app.revision and spec.update.auto_rollback:
            steps.append(Revert(app.stable))
        return Plan(tuple(steps))
    steps += _roll(spec, view)
    if all(slot.done and not slot.stale and slot.revision == app.revision for slot in view):
        if app.stable != app.revision and all(slot.served for slot in view):
            steps.append(Settle(app.revision))
        if running:
            steps.append(Conclude(DeploymentState.SUCCEEDED, ""))
    return Plan(tuple(steps), _deadline(spec, running, view) if running and not app.paused else None)


def _held(app: App, deployment: Deployment | None) -> bool:
    """The update goes no further, by a person's word or because it failed and shall not be taken back by itself."""
    failed = deployment is not None and deployment.state is DeploymentState.FAILED
    return app.paused or (failed and app.stable not in (0, app.revision))


def _kept(app: App, allocations: Sequence[Allocation]) -> int:
    """Which revision a slot keeps, and is healed with, while the update is held: that of what runs in it, or ran
    last; the last good one for a slot where nothing ran yet."""
    wanted = [a for a in allocations if a.live and a.desired is Desired.RUN]
    newest = max(wanted or allocations, key=_attempt, default=None)
    if newest and (wanted or newest.revision in (app.revision, app.stable)):
        return newest.revision
    return app.stable or app.revision


def _progress(app: App, running: Deployment, view: Sequence[_Slot]) -> list[Step]:
    done = sum(1 for slot in view if slot.done and slot.revision == app.revision)
    if (done, app.replicas) == (running.done, running.total):
        return []
    return [Progress(done, app.replicas)]


def _roll(spec: AppSpec, view: Sequence[_Slot]) -> list[Step]:
    steps: list[Step] = []
    at_once = _at_once(spec)
    changing = sum(1 for slot in view if not (slot.done or _untouched(slot)))
    stranded = sum(
        1 for slot in view if slot.unsettled and all(a.state is AllocationState.PENDING for a in slot.fresh)
    )
    for index, slot in enumerate(view):
        if slot.settled:
            continue
        revision = slot.revision
        steps += [Halt(a.id, "its slot has another") for a in slot.doubled]
        if slot.served:
            steps += [Halt(a.id, f"replaced by revision {revision}") for a in slot.stale]
            continue
        useless = slot.useless
        steps += [Halt(a.id, f"replaced by revision {revision}") for a in useless]
        serving = [a for a in slot.stale if a not in useless]
        if serving and not slot.fresh:
            # What leaves a drained node does not wait for those that found no other place.
            moves = serving[0].revision == revision
            if (changing - (stranded if moves else 0)) >= at_once:
                continue
            changing += 1
            if spec.order == "stop-first":
                steps += [Halt(a.id, f"making room for revision {revision}") for a in serving]
            elif not slot.finished:
                steps.append(Place(index, revision))
        elif (
            serving
            and any(a.state is AllocationState.PENDING for a in slot.fresh)
            and serving[0].revision == revision
        ):
            # Its node is being drained and no other has room: it goes all the same.
            steps += [Halt(a.id, "its node is drained") for a in serving]
        elif not slot.fresh and not slot.finished and not _waits(spec, slot):
            steps.append(Place(index, revision))
    return steps


def _at_once(spec: AppSpec) -> int:
    """How many slots may be in change. Start-first each of them is one more that runs."""
    update = spec.update
    if spec.order == "stop-first" or update.max_surge is None:
        return update.max_parallel
    return min(update.max_parallel, update.max_surge)


def _untouched(slot: _Slot) -> bool:
    """The update has not come to it yet: only stale replicas, none of them told to stop."""
    return bool(slot.stale) and not slot.fresh and not slot.stopping


def _waits(spec: AppSpec, slot: _Slot) -> bool:
    """With stop-first the fresh replica waits until the old one is really gone."""
    return spec.order == "stop-first" and bool(slot.stopping)


def _failure(spec: AppSpec, running: Deployment, view: Sequence[_Slot], now: int) -> str:
    """Why the running deployment has failed; empty while it has not."""
    for index, slot in enumerate(view):
        if slot.last and slot.last.state is AllocationState.FAILED:
            return f"replica {index} failed: {slot.last.reason or 'it ended'}"
        for allocation in slot.unsettled:
            if allocation.failing:
                return f"replica {index} does not get healthy: {allocation.reason}"
            if now >= _due(spec, running, allocation):
                late = f"replica {index} was not healthy after {spec.update.healthy_deadline:g}s"
                return f"{late}: {allocation.reason}" if allocation.reason else late
    # What got there in this very moment is progress, too.
    if now >= _stuck_at(spec, running) and sum(1 for slot in view if slot.done) <= running.done < len(view):
        return f"no replica got healthy for {spec.update.progress_deadline:g}s"
    return ""


def _due(spec: AppSpec, running: Deployment, allocation: Allocation) -> int:
    since = max(allocation.placed or allocation.created, running.resumed)
    return since + int(spec.update.healthy_deadline * 1000)


def _stuck_at(spec: AppSpec, running: Deployment) -> float:
    if not spec.update.progress_deadline:
        return math.inf
    return max(running.started, running.progressed) + int(spec.update.progress_deadline * 1000)


def _deadline(spec: AppSpec, running: Deployment, view: Sequence[_Slot]) -> int | None:
    due = [_due(spec, running, a) for slot in view for a in slot.unsettled]
    first = min((*due, _stuck_at(spec, running)))
    return None if math.isinf(first) else int(first)
