"""Waiting until an app is as it was wished, showing how it gets there, and saying why when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hivemind.cli.changes import LOOK_AGAIN, Changes
from hivemind.cli.context import Context
from hivemind.cli.live import Line, Live
from hivemind.errors import HivemindError, NotFound, TimedOut
from hivemind.model.allocation import AllocationDocument
from hivemind.model.app import AppDocument
from hivemind.model.deployment import DeploymentDocument

PATIENCE = 600.0
"""Seconds that a command waits unless --timeout says otherwise."""
_UNPLACED = 10.0
"""Seconds after which an app that no node can take is reported instead of waited for."""
_TOO_OFTEN = 3
"""Restarts after which a replica counts as looping."""
_STUCK = 2
"""Starts that failed before anything ran, after which a replica counts as stuck."""


class Failed(HivemindError):
    """The change was accepted and could not be carried out."""

    code, status, exit_code, title = "failed", 500, 1, "Failed"


@dataclass(frozen=True)
class View:
    """What one look at an app found. `app` is None once it is gone; `deployment` is the one waited for."""

    app: AppDocument | None
    allocations: list[AllocationDocument] = field(default_factory=list)
    deployment: DeploymentDocument | None = None

    @property
    def live(self) -> list[AllocationDocument]:
        return [a for a in self.allocations if not ended(a)]

    @property
    def current(self) -> list[AllocationDocument]:
        """Of the revision that shall run."""
        return [a for a in self.live if self.app and a.revision == self.app.status.revision]


Done = Callable[[View], bool]


def ended(allocation: AllocationDocument) -> bool:
    return allocation.state in ("complete", "failed", "stopped", "lost")


def running(view: View) -> bool:
    """As many healthy replicas as wished, all of the right revision, and nothing else."""
    if view.app is None or view.app.status.phase == "stopped":
        return True
    if view.deployment and view.deployment.state in ("running", "failed"):
        return False
    status = view.app.status
    if status.phase == "completed":
        return True
    # Of a paused app another revision than the wanted one may be what runs.
    ready = status.ready if status.paused else sum(a.status.ready for a in view.current)
    return ready >= view.app.replicas and len(view.live) <= view.app.replicas


def gone(view: View) -> bool:
    """Nothing of it runs any more."""
    return not view.live


def watch(context: Context, name: str) -> Changes:
    """To be made before the change is asked for."""
    return Changes(context.hive, context.project, name)


def settle(
    context: Context, changes: Changes, name: str, done: Done, title: str, *, deployment: str = ""
) -> AppDocument | None:
    """Waits until `done`. Raises `Failed` with the reason and the last words of the replica that failed, or
    `TimedOut`."""
    patience = context.args.get("timeout", PATIENCE)
    started = time.monotonic()
    unplaced_since: float | None = None
    stumbles = Stumbles()
    view, looked = View(None), 0.0
    with Live(context.terminal) as live:
        for idle in changes.looks(started + patience, 0.1 if live.animated else LOOK_AGAIN):
            if not idle or time.monotonic() - looked >= LOOK_AGAIN:
                view, looked = look(context, name, deployment), time.monotonic()
            finished = done(view)
            if live.begun or not finished:  # what is so already needs no words
                live.update(f"{title}  {_progress(view)} {time.monotonic() - started:.0f}s", _lines(view))
            if finished:
                live.clear()
                return view.app
            if _failed(view) or (stumbles.too_many(view) and not _undecided(view)):
                raise explain(context, view)
            unplaced_since = (unplaced_since or time.monotonic()) if _unplaced(view) else None
            if unplaced_since and time.monotonic() - unplaced_since > _UNPLACED:
                raise explain(context, view)
    raise TimedOut(
        f"{name} did not get there within {patience:g} seconds: {_progress(view)}{_obstacle(view)}",
        hint=f"it goes on in the background; hivemind describe app {name}",
    )


class Stumbles:
    """Counts how often replicas that never ran began to back off: an image that cannot be had, a bad command.

    What lies between two failures may be too short to be seen, so each is told by the time it was observed."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int]] = set()

    def too_many(self, view: View) -> bool:
        """To be asked once a look."""
        backing = [a for a in view.current if a.status.phase == "backoff" and not a.status.started]
        self._seen |= {(a.id, a.status.observed) for a in backing}
        return any(sum(id == a.id for id, _ in self._seen) >= _STUCK for a in backing)


def look(context: Context, name: str, deployment: str = "") -> View:
    hive, project = context.hive, context.project
    try:
        app = hive.apps.get(name, project)
    except NotFound:
        app = None
    allocations = hive.allocations.list(project, app=name)
    allocations.sort(key=lambda a: (a.slot, a.attempt))
    waited_for = None
    if deployment:
        try:
            waited_for = hive.deployments.get(deployment, project)
        except NotFound:
            waited_for = None
    return View(app, allocations, waited_for)


def _failed(view: View) -> bool:
    if view.deployment and view.deployment.state == "failed":
        return True
    if view.app is None or (view.deployment and view.deployment.state == "running"):
        return False
    loops = any(a.status.phase == "backoff" and a.status.restarts >= _TOO_OFTEN for a in view.current)
    return view.app.status.phase == "failing" or loops


def _undecided(view: View) -> bool:
    """The hive itself will say whether it failed."""
    return view.deployment is not None and view.deployment.state == "running"


def _unplaced(view: View) -> bool:
    """All that is missing is a node for it."""
    waiting = [a for a in view.live if a.state == "pending"]
    return bool(waiting) and all(a.state in ("pending", "healthy") for a in view.current)


def explain(context: Context, view: View) -> Failed:
    """Why it did not work: the reason, the last words of a replica that failed, the next step."""
    assert view.app is not None
    name = view.app.name
    reason = (view.deployment.reason if view.deployment else "") or view.app.status.message
    pending = next((a for a in view.live if a.state == "pending"), None)
    if not reason and pending:
        reason = pending.reason or "no node takes it"
    culprit = _culprit(view)
    if culprit:
        reason = reason or culprit.reason or culprit.status.message
        _print_last_words(context, culprit)
    if pending and not culprit:
        return Failed(
            f"{name} is not running: {reason}",
            hint=f"it starts by itself once a node fits (hivemind node ls); or take it back: hivemind app rm {name}",
        )
    kept = view.deployment and view.deployment.source
    still = " The replicas of the revision before keep running." if kept else ""
    why = (reason or "its replicas do not get ready").rstrip(".")
    return Failed(
        f"{name} failed: {why}.{still}",
        hint=f"hivemind app logs {name} shows all it wrote, hivemind app info {name} what happened",
    )


def _culprit(view: View) -> AllocationDocument | None:
    target = view.deployment.target if view.deployment else view.app.status.revision if view.app else 0
    suspects = [a for a in view.allocations if a.revision == target]
    for test in (
        lambda a: a.state == "failed",
        lambda a: a.status.phase == "backoff",
        lambda a: a.status.last is not None,
        lambda a: a.status.health == "failing",
        lambda a: a.state in ("placed", "stopped") and a.status.message,
    ):
        if found := [a for a in suspects if test(a)]:
            return max(found, key=lambda a: (a.attempt, a.created))
    return None


def _print_last_words(context: Context, allocation: AllocationDocument) -> None:
    try:
        lines = list(context.hive.allocations.logs(allocation.id, context.project, tail=10))
    except HivemindError as error:
        context.note(f"(its log cannot be read: {error.message})")
        return
    if lines:
        context.note(f"The last lines of {allocation.name} ({allocation.id}):")
        for line in lines:
            context.note("  " + context.terminal.paint(line.text, "dim"))


def _progress(view: View) -> str:
    if view.app is None:
        return f"{len(view.live)} left" if view.live else "gone"
    if view.app.status.phase == "stopped":
        return f"{len(view.live)} left"
    return f"{sum(a.status.ready for a in view.current)}/{view.app.replicas} ready"


def _lines(view: View) -> list[Line]:
    several = len({a.revision for a in view.live}) > 1
    return [
        Line(a.name + (f" (rev {a.revision})" if several else ""), describe(a), _detail(a)) for a in view.live
    ]


def describe(allocation: AllocationDocument) -> str:
    """The one word for a replica on its way."""
    if allocation.shown in ("running", "unhealthy") and not allocation.status.ready:
        return "unhealthy" if allocation.status.health == "failing" else "checking"
    return "healthy" if allocation.status.health == "passing" else allocation.shown


def _obstacle(view: View) -> str:
    """What the first replica that is not ready waits for or stumbles over, if it says so."""
    told = (f"; {a.name}: {_detail(a)}" for a in view.current if not a.status.ready and _detail(a))
    return next(told, "")


def _detail(allocation: AllocationDocument) -> str:
    if allocation.state == "pending":
        return allocation.reason
    return allocation.status.message
