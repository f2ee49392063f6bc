"""The state of an app in one word, a few counts and the one sentence worth reading now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from hivemind.model.allocation import Allocation, AllocationState, AllocationStatus, Desired, Phase
from hivemind.model.app import App, AppSpec, AppStatus
from hivemind.model.deployment import Deployment, DeploymentState

Seen = tuple[Allocation, AllocationStatus]
AppPhase = Literal["running", "deploying", "degraded", "pending", "failing", "stopped", "completed"]

_ON_ITS_WAY = (Phase.WAITING, Phase.PULLING, Phase.STARTING, Phase.RUNNING)


def app_status(app: App, spec: AppSpec, seen: Sequence[Seen], deployment: Deployment | None) -> AppStatus:
    """`seen`: all its allocations, each with what its node observed. `deployment`: the latest one."""
    wanted = [(a, s) for a, s in seen if a.live and a.desired is Desired.RUN]
    desired = 0 if app.stopped else app.replicas
    ready = sum(1 for _, s in wanted if s.ready)
    phase = _phase(app, _newest(seen), wanted, desired, ready, deployment)
    return AppStatus(
        phase=phase,
        ready=ready,
        running=sum(1 for a, s in seen if a.live and s.phase is Phase.RUNNING),
        desired=desired,
        restarts=sum(s.restarts for _, s in wanted),
        revision=app.revision,
        stable=app.stable,
        deployment=deployment.id if deployment else "",
        paused=app.paused,
        ports=tuple(f"{p.host}->{p.container}/{p.protocol}" for p in spec.ports if p.host),
        message="" if phase in ("stopped", "completed") else _message(app, _newest(seen), wanted, deployment),
    )


def _newest(seen: Sequence[Seen]) -> list[Seen]:
    """The latest attempt of each slot."""
    latest: dict[int, Seen] = {}
    for allocation, status in seen:
        other = latest.get(allocation.slot)
        if other is None or (other[0].revision, other[0].attempt) <= (
            allocation.revision,
            allocation.attempt,
        ):
            latest[allocation.slot] = (allocation, status)
    return list(latest.values())


def _phase(
    app: App,
    newest: Sequence[Seen],
    wanted: Sequence[Seen],
    desired: int,
    ready: int,
    deployment: Deployment | None,
) -> AppPhase:
    failed = deployment is not None and deployment.state is DeploymentState.FAILED
    if app.stopped:
        return "stopped"
    if deployment is not None and deployment.state is DeploymentState.RUNNING and not app.paused:
        stuck = wanted and all(a.state is AllocationState.PENDING for a, _ in wanted)
        return "pending" if stuck else "deploying"
    if desired and newest and all(a.state is AllocationState.COMPLETE for a, _ in newest):
        return "completed"
    if ready >= desired:
        return "degraded" if failed else "running"
    if any(a.state is AllocationState.PENDING for a, _ in wanted) and not ready:
        return "pending"
    ended_badly = any(a.state is AllocationState.FAILED for a, _ in newest)
    ailing = ended_badly or any(s.phase is Phase.BACKOFF or s.health == "failing" for _, s in wanted)
    if not ready and (ailing or failed):
        return "failing"
    on_its_way = all(s.phase in _ON_ITS_WAY for _, s in wanted if not s.ready)
    return "deploying" if on_its_way and not ailing and not failed else "degraded"


def _message(app: App, newest: Sequence[Seen], wanted: Sequence[Seen], deployment: Deployment | None) -> str:
    """A failed deployment first, then what waits, what cannot be placed, what ended badly, what ails."""
    if deployment is not None and deployment.state is DeploymentState.FAILED:
        return f"revision {deployment.target} failed: {deployment.reason}"
    if app.paused:
        waits = deployment is not None and deployment.state is DeploymentState.RUNNING
        return f"paused: revision {app.revision} waits" if waits else "paused"
    for group in (
        [a.reason for a, _ in wanted if a.state is AllocationState.PENDING],
        [a.reason for a, _ in newest if a.state is AllocationState.FAILED],
        [s.message for _, s in wanted if not s.ready],
    ):
        reasons = Counter(reason for reason in group if reason)
        if reasons:
            reason, count = reasons.most_common(1)[0]
            return reason if count == 1 else f"{count} replicas: {reason}"
    return ""
