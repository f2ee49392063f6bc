"""`hivemind get KIND [NAME…]`: any kind there is."""

from __future__ import annotations

from typing import Any

from hivemind.cli.context import Context
from hivemind.cli.output import show_list, show_one
from hivemind.errors import Invalid, NotFound, nearest
from hivemind.model.registry import RESOURCES, find
from hivemind.model.resource import Resource

_FOREIGN = {
    "pod": "allocation", "pods": "allocations", "po": "allocations", "container": "allocation",
    "containers": "allocations", "replica": "allocation", "replicas": "allocations", "deploy": "apps",
    "service": "apps", "services": "apps", "svc": "apps", "namespace": "project", "namespaces": "projects",
    "ns": "projects", "all": "apps", "cronjob": "jobs", "cronjobs": "jobs", "cj": "jobs", "workflow": "jobs",
    "workflows": "jobs", "dag": "jobs", "dags": "jobs", "task": "job status", "tasks": "job status",
    "configmap": "configs", "configmaps": "configs", "revision": "app history",
}  # fmt: skip


def get(context: Context) -> None:
    resource = kind(context.args.kind)
    if not context.args.name:
        show_list(context, resource, listed(context, resource))
        return
    found = [fetch(context, resource, name) for name in context.args.name]
    if len(found) == 1:
        show_one(context, resource, found[0])
    else:
        show_list(context, resource, found)


def kind(word: str) -> Resource:
    """The kind that `apps`, `app` or `a` means. Raises `Invalid` with the nearest one."""
    try:
        return find(word)
    except Invalid as error:
        known = [w for r in RESOURCES.values() for w in (r.plural, r.singular)]
        close = (
            f"here it is called {_FOREIGN[word.lower()]}"
            if word.lower() in _FOREIGN
            else nearest(word, known)
        )
        raise Invalid(error.message, hint=f"{close}; {error.hint}" if close else error.hint) from None


def listed(context: Context, resource: Resource) -> list[Any]:
    labels, app = context.args.get("selector", []), context.args.get("app", "")
    if resource.kind == "Event":
        project = "" if context.args.get("all_projects") else context.args.get("project", "")
        return list(context.hive.events(project=project, app=app))
    documents = context.hive.collection(resource).list(context.scope, labels=labels, app=app)
    return (
        sorted(documents, key=lambda d: (d.app, d.slot, d.attempt))
        if resource.kind == "Allocation"
        else documents
    )


def fetch(context: Context, resource: Resource, name: str) -> Any:
    if resource.kind == "Event":
        return context.hive.collection(resource).get(name)
    try:
        return context.hive.collection(resource).get(name, context.project)
    except NotFound as error:
        raise NotFound(error.message, hint=_instead(context, resource, name) or error.hint) from None


def _instead(context: Context, resource: Resource, name: str) -> str:
    """What the person may have meant: a name that looks like it, or one of another project."""
    if resource.scope == "project":
        elsewhere = [
            d
            for d in context.hive.collection(resource).list(None)
            if d.name == name and d.project != context.project
        ]
        if elsewhere:
            return f"there is one in project {elsewhere[0].project}: --project {elsewhere[0].project}"
    return nearest(name, {d.name for d in context.hive.collection(resource).list(context.project)})
