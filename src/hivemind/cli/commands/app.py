"""`hivemind app …`: deploy, scale, look, restart, stop, start, remove."""

from __future__ import annotations

from collections.abc import Callable

from hivemind.cli import convergence
from hivemind.cli.changes import Changes
from hivemind.cli.commands.get import fetch
from hivemind.cli.context import Context
from hivemind.cli.flags.app import manifest
from hivemind.cli.output import show_list, show_one
from hivemind.cli.plans import show_plan
from hivemind.errors import Invalid, NotFound
from hivemind.model.app import APP, AppDocument, AppManifest


def deploy(context: Context) -> None:
    name, args, hive = context.args.name, context.args, context.hive
    present = _present(context, name)
    base = None if present is None or args.replace else manifest_of(present)
    if present is None and not args.image and args.runtime != "process":
        raise Invalid(
            f"there is no app {name} yet, so it needs --image", hint="hivemind images lists what is here"
        )
    wished = manifest(args, name, base)
    version = present.version if present else None
    if args.dry_run:
        show_plan(context, hive.apps.plan(wished, context.project))
        return
    changes = convergence.watch(context, name)
    deployed = hive.apps.deploy(wished, context.project, if_version=version)
    finish(context, changes, present, deployed, "deploying", _told(present, deployed))


def manifest_of(app: AppDocument) -> AppManifest:
    """What a person would write to have it as it is."""
    return AppManifest(name=app.name, replicas=app.replicas, labels=app.labels, spec=app.spec)


def scale(context: Context) -> None:
    name, replicas = context.args.name, context.args.replicas
    if replicas is None:
        raise Invalid("scale needs --replicas N", hint=f"hivemind app scale --name {name} --replicas 3")
    changes, before = convergence.watch(context, name), fetch(context, APP, name)
    scaled = context.hive.apps.scale(name, replicas, context.project)
    finish(context, changes, before, scaled, "scaling", f"{name} scaled to {_replicas(replicas)}")


def restart(context: Context) -> None:
    for name in context.args.name:
        changes = convergence.watch(context, name)
        again = context.hive.apps.restart(name, context.project)
        finish(context, changes, None, again, "restarting", f"{name} restarted")


def start(context: Context) -> None:
    for name in context.args.name:
        changes, before = convergence.watch(context, name), fetch(context, APP, name)
        started = context.hive.apps.start(name, context.project)
        finish(context, changes, before, started, "starting", f"{name} started")


def stop(context: Context) -> None:
    _end_each(context, lambda name: context.hive.apps.stop(name, context.project), "stopping", "stopped")


def rm(context: Context) -> None:
    if context.args.get("dry_run"):
        for name in context.args.name:
            show_plan(context, context.hive.apps.plan_delete(name, context.project))
        return
    _end_each(context, lambda name: context.hive.apps.delete(name, context.project), "removing", "removed")


def _end_each(context: Context, ask: Callable[[str], object], doing: str, done: str) -> None:
    """All are asked first, so that they end at the same time."""
    asked = []
    for name in context.args.name:
        _refuse_replica(context, name)
        changes = convergence.watch(context, name)
        ask(name)
        asked.append((name, changes))
    for name, changes in asked:
        if not context.args.detach:
            convergence.settle(context, changes, name, convergence.gone, f"{name}: {doing}")
        context.print(name if context.args.detach else f"{name} {done}")


def _refuse_replica(context: Context, name: str) -> None:
    """A replica cannot be stopped alone: its app would have it back at once."""
    if _present(context, name) is not None:
        return
    try:
        replica = context.hive.allocations.get(name, context.project)
    except NotFound:
        return
    raise Invalid(
        f"{name} is one replica of the app {replica.app}, which would start it again",
        hint=f"name the app, {replica.app}; or change how many run: hivemind app scale {replica.app} --replicas N",
    )


def ls(context: Context) -> None:
    apps = context.hive.apps.list(context.scope, labels=context.args.label)
    if context.args.quiet:
        for app in apps:
            context.print(app.name)
        return
    show_list(context, APP, apps)


def info(context: Context) -> None:
    if context.args.output not in (None, "table"):
        show_one(context, APP, context.hive.apps.get(context.args.name, context.project))
        return
    from hivemind.cli.commands.describe import describe_app

    describe_app(context, context.args.name)


def _present(context: Context, name: str) -> AppDocument | None:
    try:
        return context.hive.apps.get(name, context.project)
    except NotFound:
        return None


def finish(
    context: Context, changes: Changes, before: AppDocument | None, app: AppDocument, doing: str, told: str
) -> None:
    """Waits, then tells. A deployment that was there `before` is none of ours; one of a paused app waits."""
    known = before.status.deployment if before else ""
    if app.status.paused and app.status.deployment not in ("", known):
        context.print(f"{told}, when it goes on: it is paused (hivemind rollout resume {app.name})")
        return
    if not context.args.detach:
        reached = convergence.settle(
            context,
            changes,
            app.name,
            convergence.running,
            f"{app.name}: {doing}",
            deployment=app.status.deployment if app.status.deployment != known else "",
        )
        app = reached or app
    if context.args.get("output"):
        show_one(context, APP, app)
    elif context.args.detach:
        context.print(f"{told}; it goes on in the background")
    else:
        context.print(f"{told}{_reached_at(app)}")


def _told(before: AppDocument | None, after: AppDocument) -> str:
    if before is None:
        return f"{after.name} deployed, {_replicas(after.replicas)}"
    if before.version == after.version:
        return f"{after.name} is already so"
    if before.status.revision == after.status.revision:
        return f"{after.name} changed, {_replicas(after.replicas)}"
    return f"{after.name} is now at revision {after.status.revision}, {_replicas(after.replicas)}"


def _replicas(count: int) -> str:
    return f"{count} replica" if count == 1 else f"{count} replicas"


def _reached_at(app: AppDocument) -> str:
    ports = [
        f"{p.host}/{p.protocol}" if p.protocol == "udp" else str(p.host) for p in app.spec.ports if p.host
    ]
    ways = [f"port {', '.join(ports)}"] if ports else []
    ways += [app.spec.service] if app.spec.service else []
    return f", reached at {' and '.join(ways)}" if ways and app.replicas else ""
