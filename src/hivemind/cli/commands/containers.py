"""`hivemind ps` and `rm`, with docker's meanings."""

from __future__ import annotations

from hivemind.cli.context import Context
from hivemind.cli.output import age, show_list
from hivemind.cli.tables import render
from hivemind.errors import Conflict, NotFound
from hivemind.model.allocation import ALLOCATION, AllocationDocument, CompanionStatus, ContainerStatus
from hivemind.model.app import AppDocument


def ps(context: Context) -> None:
    hive, args = context.hive, context.args
    wanted = [a for a in hive.allocations.list(context.scope) if a.app or args.jobs or args.all]
    found = sorted(wanted, key=lambda a: (a.project, a.app, "" if a.app else a.name, a.slot, a.attempt))
    shown = (
        found
        if args.all
        else [a for a in found if a.state in ("placed", "healthy") and a.status.phase != "ended"]
    )
    if args.quiet:
        for allocation in shown:
            context.print(allocation.id)
        return
    if args.output not in (None, "table", "wide"):
        show_list(context, ALLOCATION, shown)
        return
    ports = {(a.project, a.name): ",".join(a.status.ports) for a in hive.apps.list(context.scope)}
    headers = ["ID", "NAME", "IMAGE", "STATUS", "PORTS", "NODE", "AGE"]
    rows = [
        [
            a.id,
            a.name,
            a.image or "-",
            state(a),
            ports.get((a.project, a.app)) or "-",
            a.node or "-",
            age(a.created),
        ]
        for a in shown
    ]
    if args.output == "wide":
        headers += ["REV", "RESTARTS", "IP", "MESSAGE"]
        for row, a in zip(rows, shown, strict=True):
            row += [
                str(a.revision),
                str(a.status.restarts),
                a.status.ip or "-",
                a.status.message or a.reason or "-",
            ]
    if args.all_projects:
        headers.insert(0, "PROJECT")
        for row, a in zip(rows, shown, strict=True):
            row.insert(0, a.project)
    lines = []
    for row, a in zip(rows, shown, strict=True):
        lines += [row, *(_beside(headers, a, c) for c in a.status.companions if args.all or _runs(c))]
    for line in render(headers, lines, context.terminal.width, context.terminal.mood):
        context.print(line)


def _runs(companion: CompanionStatus) -> bool:
    return companion.phase not in ("waiting", "ended")


def _beside(headers: list[str], allocation: AllocationDocument, companion: CompanionStatus) -> list[str]:
    """A companion's row, below its replica's."""
    ended = companion.last
    done = companion.phase == "ended" and ended
    known = {
        "PROJECT": allocation.project,
        "ID": allocation.id,
        "NAME": f"{allocation.name}/{companion.name}",
        "STATUS": f"Exited ({ended.exit_code}) {age(ended.ended)} ago"
        if done and ended
        else _live(companion),
        "NODE": allocation.node or "-",
        "AGE": age(allocation.created),
        "RESTARTS": str(companion.restarts),
        "MESSAGE": companion.message or "-",
    }
    return [known.get(header, "-") for header in headers]


def state(allocation: AllocationDocument) -> str:
    """As docker says it: `Up 5m (healthy)`, `Exited (1) 2m ago`."""
    status = allocation.status
    last = status.last
    if allocation.state in ("placed", "healthy"):
        return _live(status)
    code = allocation.exit_code if allocation.exit_code is not None else last.exit_code if last else None
    when = f" {age(last.ended)} ago" if last and last.ended else ""
    return f"Exited ({code}){when}" if code is not None else allocation.state.capitalize()


def _live(status: ContainerStatus) -> str:
    if status.phase == "running":
        health = {"passing": " (healthy)", "failing": " (unhealthy)", "starting": " (health: starting)"}
        return f"Up {age(status.started)}{health.get(status.health, '')}"
    ended = f" (exit code {status.last.exit_code})" if status.phase == "backoff" and status.last else ""
    return f"{str(status.phase).capitalize()}{ended}"


def rm(context: Context) -> None:
    from hivemind.cli.commands import (
        app as apps,
    )  # with all the flags of a deployment: `ps` has no use for it

    if not context.args.force:
        for name in context.args.name:
            _refuse_running(context, name)
    apps.rm(context)


def _refuse_running(context: Context, name: str) -> None:
    try:
        app: AppDocument = context.hive.apps.get(name, context.project)
    except NotFound:
        return
    if app.status.phase not in ("stopped", "completed") and app.status.running:
        raise Conflict(f"{name} is running", hint=f"hivemind stop {name} first, or: hivemind rm -f {name}")
