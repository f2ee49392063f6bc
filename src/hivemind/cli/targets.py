"""What a name means where an app or one of its replicas may stand."""

from __future__ import annotations

from dataclasses import dataclass

from hivemind.cli.context import Context
from hivemind.cli.parsing import nearest
from hivemind.errors import Conflict, NotFound
from hivemind.model.allocation import AllocationDocument


@dataclass(frozen=True)
class App:
    name: str


@dataclass(frozen=True)
class Replica:
    id: str
    document: AllocationDocument


def resolve(context: Context, word: str) -> App | Replica:
    """An app of that name, else the allocation that `web.0`, an id or its beginning names."""
    hive, project = context.hive, context.project
    try:
        return App(hive.apps.get(word, project).name)
    except NotFound:
        pass
    try:
        found = hive.allocations.get(word, project)
    except NotFound:
        if ended := _ended(context, word):
            return Replica(ended.id, ended)
        known = {app.name for app in hive.apps.list(project)}
        raise NotFound(
            f"there is no app or replica {word!r} in project {project}",
            hint=nearest(word, known) or "hivemind ps -a lists replicas, hivemind app ls apps",
        ) from None
    return Replica(found.id, found)


def _ended(context: Context, word: str) -> AllocationDocument | None:
    """The last one that was `web.0`, when none is any more."""
    app, dot, slot = word.rpartition(".")
    if not dot or not app or not slot.isdigit():
        return None
    found = [a for a in context.hive.allocations.list(context.project, app=app) if a.slot == int(slot)]
    return max(found, key=lambda a: a.attempt, default=None)


def running_replica(context: Context, word: str) -> AllocationDocument:
    """The replica to look into: the one named, or the app's first that runs."""
    target = resolve(context, word)
    if isinstance(target, Replica):
        return target.document
    replicas = context.hive.allocations.list(context.project, app=target.name)
    running = [a for a in replicas if a.state in ("placed", "healthy") and a.status.phase == "running"]
    if not running:
        raise Conflict(f"no replica of {target.name} runs", hint=f"hivemind app info {target.name} shows why")
    return min(running, key=lambda a: (not a.status.ready, a.slot, -a.attempt))
