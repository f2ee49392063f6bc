"""What a name means where an app or one of its replicas may stand."""

from __future__ import annotations

from dataclasses import dataclass

from hivemind.cli.context import Context
from hivemind.errors import Conflict, Invalid, NotFound, nearest
from hivemind.model.allocation import AllocationDocument


@dataclass(frozen=True)
class App:
    name: str
    container: str = ""
    """The companion that was named behind a slash."""


@dataclass(frozen=True)
class Replica:
    id: str
    document: AllocationDocument
    container: str = ""


def resolve(context: Context, word: str) -> App | Replica:
    """An app of that name, else the allocation that `web.0`, an id or its beginning names; `/log` behind it is its
    companion of that name, as `ps` writes it. `nightly-7/train` is the newest attempt of a task of a run."""
    hive, project = context.hive, context.project
    whole = word
    word, _, container = word.partition("/")
    try:
        return App(hive.apps.get(word, project).name, container)
    except NotFound:
        pass
    try:
        found = hive.allocations.get(word, project)
    except NotFound:
        if ended := _ended(context, word):
            return Replica(ended.id, ended, container)
        if container and (attempt := _attempt(context, whole)):
            return attempt
        known = {app.name for app in hive.apps.list(project)}
        raise NotFound(
            f"there is no app or replica {word!r} in project {project}",
            hint=_as_run(context, whole)
            or nearest(word, known)
            or "hivemind ps -a lists replicas, hivemind app ls apps",
        ) from None
    return Replica(found.id, found, container)


def _attempt(context: Context, word: str) -> Replica | None:
    """Of `nightly-7/train`, or of `nightly-7/train.1`, a further member of a gang; what ended is not here any more."""
    run_name, _, path = word.partition("/")
    hive, project = context.hive, context.project
    path, rank = _rank(path)
    try:
        run = hive.runs.get(run_name, project)
        task = hive.runs.task(run.id, path, project)
    except NotFound:
        return None
    if rank >= len(task.allocations):
        raise Conflict(
            f"{path} of {run.name} does not run: it is {task.state}",
            hint=f"hivemind job logs {run.name} {path} shows what it wrote",
        )
    found = hive.allocations.get(task.allocations[rank], project)
    return Replica(found.id, found)


def _as_run(context: Context, word: str) -> str:
    """What to do with a word that means a run, where only what runs somewhere is taken."""
    try:
        run = context.hive.runs.get(word.removeprefix("run/"), context.project)
    except NotFound:
        return ""
    return f"{run.name} is a run: hivemind job logs {run.name}, or wait run/{run.name} --for=state=succeeded"


def _rank(path: str) -> tuple[str, int]:
    """Ids of tasks begin with a letter, so a number at the end is a member of a gang."""
    front, dot, last = path.rpartition(".")
    return (front, int(last)) if dot and last.isdigit() else (path, 0)


def _ended(context: Context, word: str) -> AllocationDocument | None:
    """The last one that was `web.0`, when none is any more."""
    app, dot, slot = word.rpartition(".")
    if not dot or not app or not slot.isdigit():
        return None
    found = [a for a in context.hive.allocations.list(context.project, app=app) if a.slot == int(slot)]
    return max(found, key=lambda a: a.attempt, default=None)


def container_of(context: Context, target: App | Replica) -> str:
    """The companion that is meant, by `web.0/log` or by `-c log`; empty: the app's own container."""
    asked: str = context.args.get("container") or ""
    if asked and target.container not in ("", asked):
        raise Invalid(f"two containers are named: {target.container} and {asked}", hint="leave out -c")
    return target.container or asked


def looked_into(context: Context, word: str) -> tuple[AllocationDocument, str]:
    """The replica to look into, the one named or the app's first that runs, and the container of it."""
    target = resolve(context, word)
    replica = target.document if isinstance(target, Replica) else _running(context, target)
    return replica, container_of(context, target)


def _running(context: Context, target: App) -> AllocationDocument:
    replicas = context.hive.allocations.list(context.project, app=target.name)
    running = [a for a in replicas if a.state in ("placed", "healthy") and a.status.phase == "running"]
    if not running:
        raise Conflict(f"no replica of {target.name} runs", hint=f"hivemind app info {target.name} shows why")
    return min(running, key=lambda a: (not a.status.ready, a.slot, -a.attempt))
