"""The rolling strategy: replicas are replaced a few at a time, each new one healthy before the next old one goes.

A *slot* is one of the `replicas` places of an app (see `slots`). Level-triggered: the plan depends only on what is
there, so it is the same whether it is made for the first time or after a crash, and a first deploy, a scale, a heal
and a roll-back are one rule.

Never: more than `max_parallel` slots in change because of an update; a stale healthy replica stopped before
its fresh one is healthy, or more than `max_surge` replicas wanted beyond `replicas` (start-first); a fresh replica
started beside its stale one (stop-first). Held (paused, or failed without a way back), no slot goes on to another
revision; each is healed with its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import attrgetter

from hivemind.deployments.slots import Slot, Slots
from hivemind.deployments.steps import Conclude, Halt, Place, Plan, Progress, Revert, Settle, Step
from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.app import App, AppSpec
from hivemind.model.deployment import Deployment, DeploymentState

_attempt = attrgetter("attempt")


def plan(
    app: App,
    spec: AppSpec,
    slots: Slots,
    read: Callable[[int], list[Allocation]],
    beyond: Sequence[Allocation],
    deployment: Deployment | None,
    now: int,
    leaving: frozenset[str] = frozenset(),
) -> Plan:
    """`spec` is that of `app.revision`; `slots` what earlier plans remember, `read` the allocations of a slot, ended
    ones too; `beyond` those in slots that the app shall not have; `deployment` the one that brings or brought the
    revision, if that is still known; `leaving` nodes being drained."""
    running = deployment if deployment and deployment.state is DeploymentState.RUNNING else None
    why = "the app was deleted" if app.deleted else "the app was stopped" if app.stopped else "scaled down"
    steps: list[Step] = [
        Halt(a.id, why) for a in sorted(beyond, key=_attempt) if a.live and a.desired is Desired.RUN
    ]
    if app.deleted or app.stopped:
        # Nothing was proved about the revision, so it neither succeeded nor becomes one to fall back to.
        return Plan((*steps, Conclude(DeploymentState.SUPERSEDED, why)) if running else tuple(steps))
    held = _held(app, deployment)

    def make(index: int) -> Slot:
        allocations = read(index)
        return Slot(index, _kept(app, allocations) if held else app.revision, leaving, allocations)

    slots.look((held, app.stable, leaving), app.revision, app.replicas, make)
    busy, done = slots.busy, slots.done
    if running and (done, app.replicas) != (running.done, running.total):
        steps.append(Progress(done, app.replicas))
    if running and not app.paused and (failure := _failure(spec, running, busy, done, app.replicas, now)):
        steps.append(Conclude(DeploymentState.FAILED, failure))
        if app.stable and app.stable != app.revision and spec.update.auto_rollback:
            steps.append(Revert(app.stable))
        return Plan(tuple(steps))
    steps += _roll(spec, slots, busy, make)
    if done == app.replicas and not any(slot.stale for slot in busy):
        if app.stable != app.revision and all(slot.served for slot in busy):
            steps.append(Settle(app.revision))
        if running:
            steps.append(Conclude(DeploymentState.SUCCEEDED, ""))
    return Plan(tuple(steps), _deadline(spec, running, busy) if running and not app.paused else None)


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


def _roll(spec: AppSpec, slots: Slots, busy: Sequence[Slot], make: Callable[[int], Slot]) -> list[Step]:
    steps: list[Step] = []
    at_once = _at_once(spec)
    changing = sum(1 for slot in busy if not (slot.done or slot.untouched))
    stranded = sum(
        1 for slot in busy if slot.unsettled and all(a.state is AllocationState.PENDING for a in slot.fresh)
    )
    for slot in busy:
        why = f"replaced by revision {slot.revision}"
        steps += [Halt(a.id, "its slot has another") for a in slot.doubled]
        if slot.served:
            steps += [Halt(a.id, "moved to another node" if a.moving_to else why) for a in slot.stale]
            continue
        useless = slot.useless
        steps += [Halt(a.id, why) for a in useless]
        serving = [a for a in slot.stale if a not in useless]
        if serving and not slot.fresh:
            # What leaves a drained node does not wait for those that found no other place.
            moves = serving[0].revision == slot.revision
            if (changing - (stranded if moves else 0)) < at_once:
                changing += 1
                steps += _begin(spec, slot, serving)
        elif (
            serving
            and any(a.state is AllocationState.PENDING for a in slot.fresh)
            and serving[0].revision == slot.revision
            and not serving[0].moving_to
        ):
            # Its node is being drained and no other has room: it goes all the same.
            steps += [Halt(a.id, "its node is drained") for a in serving]
        elif not slot.fresh and not slot.finished and not _waits(spec, slot):
            steps.append(Place(slot.index, slot.revision))
    for index in slots.patient[: max(at_once - changing, 0)]:
        slot = make(index)
        steps += _begin(spec, slot, slot.stale)
    return steps


def _begin(spec: AppSpec, slot: Slot, serving: Sequence[Allocation]) -> list[Step]:
    """Its turn has come."""
    if spec.order == "stop-first":
        return [Halt(a.id, f"making room for revision {slot.revision}") for a in serving]
    if slot.finished:
        # Nothing more is to run here. What a revision that was taken back left goes; an older one may go on serving.
        return [Halt(a.id, "its revision was taken back") for a in serving if a.revision > slot.revision]
    return [Place(slot.index, slot.revision)]


def _at_once(spec: AppSpec) -> int:
    """How many slots may be in change. Start-first each of them is one more that runs."""
    update = spec.update
    if spec.order == "stop-first" or update.max_surge is None:
        return update.max_parallel
    return min(update.max_parallel, update.max_surge)


def _waits(spec: AppSpec, slot: Slot) -> bool:
    """With stop-first the fresh replica waits until the old one is really gone."""
    return spec.order == "stop-first" and bool(slot.stopping)


def _failure(
    spec: AppSpec, running: Deployment, busy: Sequence[Slot], done: int, replicas: int, now: int
) -> str:
    """Why the running deployment has failed; empty while it has not."""
    for slot in busy:
        if slot.last and slot.last.state is AllocationState.FAILED:
            return f"replica {slot.index} failed: {slot.last.reason or 'it ended'}"
        for allocation in slot.unsettled:
            if allocation.failing:
                return f"replica {slot.index} does not get healthy: {allocation.reason}"
            if now >= _due(spec, running, allocation):
                late = f"replica {slot.index} was not healthy after {spec.update.healthy_deadline:g}s"
                return f"{late}: {allocation.reason}" if allocation.reason else late
    # What got there in this very moment is progress, too.
    if now >= _stuck_at(spec, running) and done <= running.done < replicas:
        return f"no replica got healthy for {spec.update.progress_deadline:g}s"
    return ""


def _due(spec: AppSpec, running: Deployment, allocation: Allocation) -> int:
    since = max(allocation.placed or allocation.created, running.resumed)
    return since + int(spec.update.healthy_deadline * 1000)


def _stuck_at(spec: AppSpec, running: Deployment) -> float:
    if not spec.update.progress_deadline:
        return math.inf
    return max(running.started, running.progressed) + int(spec.update.progress_deadline * 1000)


def _deadline(spec: AppSpec, running: Deployment, busy: Sequence[Slot]) -> int | None:
    due = [_due(spec, running, a) for slot in busy for a in slot.unsettled]
    first = min((*due, _stuck_at(spec, running)))
    return None if math.isinf(first) else int(first)
