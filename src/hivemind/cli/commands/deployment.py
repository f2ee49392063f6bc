"""`hivemind deployment …`: the changes of apps, and how far they are."""

from __future__ import annotations

from hivemind.cli.context import Context
from hivemind.cli.output import age, show_data, show_list
from hivemind.errors import NotFound
from hivemind.model.deployment import DEPLOYMENT, DeploymentDocument


def ls(context: Context) -> None:
    found = context.hive.deployments.list(context.scope, app=context.args.get("app") or "")
    show_list(context, DEPLOYMENT, found)


def status(context: Context) -> None:
    deployment = _find(context, context.args.id)
    if context.args.get("output") in ("json", "yaml"):
        import msgspec

        show_data(context, msgspec.to_builtins(deployment))
        return
    paint = context.terminal
    context.print(f"{paint.paint(deployment.id, 'bold')}  {paint.mood(deployment.state)}")
    facts = {
        "app": deployment.app,
        "revisions": f"{deployment.source or 'none'} to {deployment.target}",
        "replicas": f"{deployment.progress} done",
        "cause": f"{deployment.cause or 'unknown'}, by {deployment.by or 'nobody'}",
        "started": f"{age(deployment.started)} ago",
        "ended": f"{age(deployment.ended)} ago" if deployment.ended else "",
        "reason": deployment.reason,
    }
    for fact, value in facts.items():
        if value:
            context.print(f"  {fact + ':':<10} {value}")


def _find(context: Context, word: str) -> DeploymentDocument:
    """By id, or the latest of an app."""
    try:
        return context.hive.deployments.get(word, context.project)
    except NotFound:
        mine = context.hive.deployments.list(context.project, app=word)
        if not mine:
            raise
        return max(mine, key=lambda d: d.target)
