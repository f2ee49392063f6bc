"""Revisions: how an app came to be as it is, how two of them differ, going back, holding on."""

from __future__ import annotations

import time
from difflib import unified_diff
from typing import Any

import msgspec

from hivemind.cli import convergence
from hivemind.cli.changes import LOOK_AGAIN
from hivemind.cli.commands.app import finish
from hivemind.cli.commands.get import fetch
from hivemind.cli.context import Context
from hivemind.cli.convergence import Failed
from hivemind.cli.output import age, show_data
from hivemind.cli.plans import show_plan
from hivemind.cli.tables import render
from hivemind.errors import Invalid, NotFound, TimedOut
from hivemind.model.app import APP, AppDocument
from hivemind.model.deployment import DeploymentDocument
from hivemind.model.revision import RevisionDocument
from hivemind.protocols.yaml12 import dump

_DIFFERENT = 1


def app_name(context: Context) -> str:
    """`web`, `app/web`, and what fingers used to kubectl write: `deployment/web`."""
    word = str(context.args.get("app") or context.args.get("name"))
    noun, slash, name = word.partition("/")
    if not slash:
        return word
    if noun.lower() not in ("app", "apps", "deployment", "deployments", "deploy"):
        raise Invalid(f"{noun} has no rollouts", hint=f"only apps have: hivemind rollout status app/{name}")
    return name


# -- looking back --------------------------------------------------------------------------------------------------


def history(context: Context) -> None:
    name = app_name(context)
    revisions = _revisions(context, name)
    if number := context.args.get("revision"):
        revisions = [_numbered(revisions, name, number)]
    if context.args.get("output") in ("json", "yaml"):
        show_data(context, {"items": [msgspec.to_builtins(revision) for revision in revisions]})
    elif number:
        for line in _text(revisions[0]):
            context.print(line)
    else:
        headers = ("REV", "CAUSE", "BY", "AGE", "STATE", "IMAGE", "REASON")
        for line in render(
            headers, [_row(r) for r in revisions], context.terminal.width, context.terminal.mood
        ):
            context.print(line)


def _row(revision: RevisionDocument) -> tuple[str, ...]:
    number = f"{revision.number}*" if revision.current else str(revision.number)
    cause = f"back to {revision.origin}" if revision.origin else revision.cause
    return (
        number,
        cause,
        revision.by or "-",
        age(revision.created),
        revision.state or "-",
        revision.spec.image or "-",
        revision.reason or "-",
    )


def _revisions(context: Context, name: str) -> list[RevisionDocument]:
    fetch(context, APP, name)  # with its better words for a name that is not there
    return context.hive.apps.revisions(name, context.project)


def _numbered(revisions: list[RevisionDocument], name: str, number: int) -> RevisionDocument:
    for revision in revisions:
        if revision.number == number:
            return revision
    kept = ", ".join(str(r.number) for r in revisions)
    raise NotFound(f"app {name} has no revision {number}; it has {kept}", hint=f"hivemind app history {name}")


def diff(context: Context) -> int:
    args = context.args
    revisions = _revisions(context, args.name)
    current = next(r for r in revisions if r.current)
    if args.revision is None:
        raise Invalid("diff needs a revision", hint=f"hivemind app history {args.name} lists them")
    old = _numbered(revisions, args.name, _number(args.revision))
    new = _numbered(revisions, args.name, _number(args.other)) if args.other else current
    lines = list(
        unified_diff(
            _text(old), _text(new), f"revision {old.number}", f"revision {new.number}", lineterm="", n=2
        )
    )
    for line in lines:
        context.print(context.terminal.paint(line, *_colour(line)))
    if not lines:
        context.note(f"revisions {old.number} and {new.number} are alike")
    return _DIFFERENT if lines else 0


def _number(text: str) -> int:
    if not text.isdigit():
        raise Invalid(f"{text!r} is not a revision", hint="revisions are numbers: 1, 2, …")
    return int(text)


def _colour(line: str) -> tuple[str, ...]:
    if line.startswith(("---", "+++")):
        return ("bold",)
    return {"+": ("green",), "-": ("red",), "@": ("cyan",)}.get(line[:1], ())


def _text(revision: RevisionDocument) -> list[str]:
    """Its spec as a manifest says it, and the numbers of what it uses."""
    shown: dict[str, Any] = {"spec": msgspec.json.decode(msgspec.json.encode(revision.spec))}
    if revision.pins:
        shown["uses"] = revision.pins
    return dump(shown).splitlines()


# -- going back, holding on ----------------------------------------------------------------------------------------


def rollback(context: Context) -> None:
    name, to = app_name(context), context.args.get("to") or 0
    if context.args.dry_run:
        show_plan(context, context.hive.apps.plan_rollback(name, context.project, to=to))
        return
    before = fetch(context, APP, name)
    changes = convergence.watch(context, name)
    after = context.hive.apps.rollback(name, context.project, to=to)
    if after.status.revision == before.status.revision:
        context.print(f"{name} is as in revision {to} already; nothing was changed")
        return
    origin = next((r.origin for r in _revisions(context, name) if r.number == after.status.revision), 0)
    told = f"{name} is like revision {origin} again, as revision {after.status.revision}"
    finish(context, changes, before, after, "going back", told)


def restart(context: Context) -> None:
    name = app_name(context)
    changes = convergence.watch(context, name)
    again = context.hive.apps.restart(name, context.project)
    finish(context, changes, None, again, "restarting", f"{name} restarted")


def pause(context: Context) -> None:
    name = app_name(context)
    context.hive.apps.pause(name, context.project)
    context.print(f"{name} paused; new revisions wait for: hivemind rollout resume {name}")


def resume(context: Context) -> None:
    name = app_name(context)
    changes = convergence.watch(context, name)
    app = context.hive.apps.resume(name, context.project)
    finish(context, changes, None, app, "going on", f"{name} resumed")


# -- watching ------------------------------------------------------------------------------------------------------


def status(context: Context) -> None:
    """Kubectl's: a line for each step; ends when it is done, fails when it failed."""
    name = app_name(context)
    changes = convergence.watch(context, name)
    patience = context.args.get("timeout", convergence.PATIENCE)
    said = ""
    for _ in changes.looks(time.monotonic() + patience, LOOK_AGAIN):
        app = fetch(context, APP, name)
        deployment = _latest(context, app)
        over, line = _standing(app, deployment, context.args.get("revision"))
        if line != said:
            context.print(line)
            said = line
        if over or context.args.no_watch:
            return
    raise TimedOut(
        f"{name} was not done within {patience:g} seconds: {said}", hint="it goes on in the background"
    )


def _latest(context: Context, app: AppDocument) -> DeploymentDocument | None:
    try:
        return (
            context.hive.deployments.get(app.status.deployment, context.project)
            if app.status.deployment
            else None
        )
    except NotFound:
        return None


def _standing(
    app: AppDocument, deployment: DeploymentDocument | None, wanted: int | None
) -> tuple[bool, str]:
    """Whether it is over, and how it stands. Raises `Failed`."""
    if deployment is None:
        return True, f"{app.name} is at revision {app.status.revision}"
    if wanted and wanted != deployment.target:
        raise Failed(f"revision {deployment.target} took the place of revision {wanted}",
                     hint=f"hivemind app history {app.name}")  # fmt: skip
    target, progress = f"{app.name}: revision {deployment.target}", deployment.progress
    if deployment.state == "failed":
        back = (
            f"; {app.name} is back at revision {app.status.revision}"
            if app.status.revision != deployment.target
            else ""
        )
        raise Failed(f"{target} failed: {deployment.reason}{back}", hint=f"hivemind app logs {app.name}")
    if deployment.state == "superseded":
        return True, f"{target} was given up: {deployment.reason}"
    if deployment.state == "succeeded":
        return True, f"{target} runs, {progress} replicas"
    waits = f" (paused; hivemind rollout resume {app.name})" if deployment.state == "paused" else ""
    return False, f"{target}: {progress} replicas done{waits}"
