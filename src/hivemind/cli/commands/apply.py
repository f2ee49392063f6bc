"""`hivemind apply -f` and `delete`: what files ask for, and taking it away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hivemind.cli import convergence
from hivemind.cli.changes import Changes
from hivemind.cli.commands.get import kind
from hivemind.cli.context import Context
from hivemind.cli.manifests import Manifest, load
from hivemind.cli.parsing import Values
from hivemind.cli.plans import show_plan
from hivemind.errors import Forbidden, Invalid, NotFound
from hivemind.model.resource import Resource


def apply(context: Context) -> None:
    if not context.args.filename:
        raise Invalid(
            "apply needs -f FILE", hint="hivemind apply -f app.yaml, or -f - to read standard input"
        )
    manifests = load(context.args.filename, context.project)
    if context.args.dry_run:
        for manifest in manifests:
            context.print(f"{manifest.label}:")
            show_plan(context, _collection(context, manifest).plan(manifest.value, manifest.project))
        return
    waiting: list[tuple[Manifest, Changes, str]] = []
    for manifest in manifests:
        changed = _put(context, manifest)
        if changed:
            waiting.append((manifest, *changed))
    if not context.args.detach:
        for manifest, changes, deployment in waiting:
            _wait(context, manifest, changes, deployment)


def put_all(context: Context, files: Sequence[str], resource: Resource) -> None:
    """What files say of one kind; with `--dry-run`, what that would do."""
    manifests = load(files, context.project, of=resource)
    for manifest in manifests:
        if context.args.dry_run:
            context.print(f"{manifest.label}:")
            show_plan(context, _collection(context, manifest).plan(manifest.value, manifest.project))
        else:
            _put(context, manifest)


def _put(context: Context, manifest: Manifest) -> tuple[Changes, str] | None:
    """What to wait for: the app's deployment, if it is an app that is not as wished already."""
    collection = _collection(context, manifest)
    before = _present(collection, manifest)
    changes = Changes(context.hive, manifest.project, manifest.value.name) if _is_app(manifest) else None
    after = collection.put(manifest.value, manifest.project, if_version=before.version if before else None)
    what = "created" if before is None else "unchanged" if before.version == after.version else "changed"
    context.print(f"{manifest.label} {what}")
    return (changes, after.status.deployment) if changes else None


def _wait(context: Context, manifest: Manifest, changes: Changes, deployment: str) -> None:
    name = manifest.value.name
    there = _in_project(context, manifest.project)
    convergence.settle(there, changes, name, convergence.running, f"{name}: deploying", deployment=deployment)
    if context.terminal.interactive:
        context.print(f"{manifest.label} healthy")


def _in_project(context: Context, project: str) -> Context:
    """The same command, in the project that the manifest names."""
    args = Values({"project": project, "timeout": context.args.get("timeout")})
    return Context(args, context.terminal, context.hive)


def _is_app(manifest: Manifest) -> bool:
    return manifest.resource.kind == "App"


def _collection(context: Context, manifest: Manifest) -> Any:
    return context.hive.collection(manifest.resource)


def _present(collection: Any, manifest: Manifest) -> Any:
    try:
        return collection.get(manifest.value.name, manifest.project)
    except NotFound:
        return None


def delete(context: Context) -> None:
    args = context.args
    if args.filename and args.kind:
        raise Invalid("what to delete is given twice", hint="name it, or give -f FILE")
    if args.filename:
        for manifest in reversed(load(args.filename, context.project)):
            remove(_in_project_of(context, manifest), manifest.resource, manifest.value.name, missing_ok=True)
        return
    if not args.kind or not args.name:
        raise Invalid(
            "delete needs a kind and a name",
            hint="like: hivemind delete app web, or: hivemind delete -f FILE",
        )
    resource = kind(args.kind)
    for name in args.name:
        remove(context, resource, name)


def _in_project_of(context: Context, manifest: Manifest) -> Context:
    args = {k: context.args.get(k) for k in ("timeout", "detach", "dry_run")}
    return Context(Values({**args, "project": manifest.project}), context.terminal, context.hive)


_INSTEAD = {
    "Allocation": "change or delete its app",
    "Deployment": "change or delete its app",
    "Run": "cancel it with hivemind job cancel; `keep` of its job says how long runs are kept",
}
"""Of what cannot be deleted: what to do."""


def remove(context: Context, resource: Resource, name: str, *, missing_ok: bool = False) -> None:
    """One thing; with `--dry-run`, what that would do."""
    if not resource.deletable and resource.kind != "Image":
        raise Forbidden(f"{resource.plural} cannot be deleted", hint=_INSTEAD.get(resource.kind, ""))
    collection = context.hive.images if resource.kind == "Image" else context.hive.collection(resource)
    try:
        if context.args.dry_run:
            show_plan(context, collection.plan_delete(name, context.project))
            return
        changes = Changes(context.hive, context.project, name) if resource.kind == "App" else None
        collection.delete(name, context.project)
    except NotFound:
        if not missing_ok:
            raise
        context.print(f"{resource.singular}/{name} was not there")
        return
    if changes and not context.args.get("detach"):
        convergence.settle(context, changes, name, convergence.gone, f"{name}: removing")
    context.print(f"{resource.singular}/{name} deleted")
