"""The rolling strategy: replicas are replaced a few at a time, each new one healthy before the next old one goes.

A *slot* is one of the `replicas` places of an app. Within a slot an allocation of the wanted revision is
*fresh*, any other *stale*. Level-triggered: the plan depends only on what is there, so it is the same whether
it is made for the first time or after a crash, and a first deploy, a scale, a heal and a roll-back are one
rule.

Never: more than `max_parallel` slots in change because of an update; a stale healthy replica stopped before
its fresh one is healthy (start-first); a fresh replica started beside its stale one (stop-first).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from hivemind.deployments.steps import Conclude, Halt, Place, Plan, Revert, Settle, Step
from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.app import App, AppSpec
from hivemind.model.deployment import Deployment, DeploymentState

_attempt = attrgetter("attempt")


class _Slot:
    """The allocations of one slot, sorted by what they mean."""

    def __init__(self, revision: int, leaving: frozenset[str], allocations: list[Allocation]) -> None:
        """One pass, because every plan looks at every slot, and an app may have thousands."""
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
    def served(self) -> bool:
        """What the slot is for is there, or was done: nothing stale is needed any more."""
        return self.healthy or (
            self.finished and self.last is not None and self.last.state is AllocationState.COMPLETE
        )

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
    """`spec` is that of `app.revision`; `deployment` the running one, if any; `leaving` nodes being drained."""
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
        return Plan((*steps, Conclude(DeploymentState.SUPERSEDED, why)) if deployment else tuple(steps))
    view = [_Slot(app.revision, leaving, slots[index]) for index in range(app.replicas)]
    if deployment and (failure := _failure(spec, view, now)):
        steps.append(Conclude(DeploymentState.FAILED, failure))
        if app.stable and app.stable != app.revision:
            steps.append(Revert(app.stable))
        return Plan(tuple(steps))
    steps += _roll(spec, view, app.revision)
    if all(slot.healthy or slot.finished for slot in view) and not any(slot.stale for slot in view):
        if app.stable != app.revision and all(slot.served for slot in view):
            steps.append(Settle(app.revision))
        if deployment:
            steps.append(Conclude(DeploymentState.SUCCEEDED, ""))
    return Plan(tuple(steps), _deadline(spec, view) if deployment else None)


def _roll(spec: AppSpec, view: Sequence[_Slot], revision: int) -> list[Step]:
    steps: list[Step] = []
    changing = sum(1 for slot in view if not (slot.healthy or slot.finished or _untouched(slot)))
    stranded = sum(
        1 for slot in view if slot.unsettled and all(a.state is AllocationState.PENDING for a in slot.fresh)
    )
    for index, slot in enumerate(view):
        if slot.settled:
            continue
        steps += [Halt(a.id, "its slot has another") for a in slot.doubled]
        if slot.served:
            steps += [Halt(a.id, f"replaced by revision {revision}") for a in slot.stale]
            continue
        useless = [a for a in slot.stale if a.failing or a.state is AllocationState.PENDING]
        steps += [Halt(a.id, f"replaced by revision {revision}") for a in useless]
        serving = [a for a in slot.stale if a not in useless]
        if serving and not slot.fresh:
            # What leaves a drained node does not wait for those that found no other place.
            moves = serving[0].revision == revision
            if (changing - (stranded if moves else 0)) >= spec.update.max_parallel:
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


def _untouched(slot: _Slot) -> bool:
    """The update has not come to it yet: only stale replicas, none of them told to stop."""
    return bool(slot.stale) and not slot.fresh and not slot.stopping


def _waits(spec: AppSpec, slot: _Slot) -> bool:
    """With stop-first the fresh replica waits until the old one is really gone."""
    return spec.order == "stop-first" and bool(slot.stopping)


def _failure(spec: AppSpec, view: Sequence[_Slot], now: int) -> str:
    """Why the running deployment has failed; empty while it has not."""
    for index, slot in enumerate(view):
        if slot.last and slot.last.state is AllocationState.FAILED:
            return f"replica {index} failed: {slot.last.reason or 'it ended'}"
        for allocation in slot.unsettled:
            if allocation.failing:
                return f"replica {index} does not get healthy: {allocation.reason}"
            if now >= _due(spec, allocation):
                late = f"replica {index} was not healthy after {spec.update.healthy_deadline:g}s"
                return f"{late}: {allocation.reason}" if allocation.reason else late
    return ""


def _due(spec: AppSpec, allocation: Allocation) -> int:
    return (allocation.placed or allocation.created) + int(spec.update.healthy_deadline * 1000)


def _deadline(spec: AppSpec, view: Sequence[_Slot]) -> int | None:
    return min((_due(spec, a) for slot in view for a in slot.unsettled), default=None)
