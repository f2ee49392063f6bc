"""`hivemind cluster init`, `join`, `leave`, `expel`, `status`, `configure`."""

from __future__ import annotations

import sys
import time

import msgspec

from hivemind.cli.confirm import agree
from hivemind.cli.context import Context
from hivemind.cli.live import Line, Live
from hivemind.cli.output import age, short, show_data
from hivemind.cli.tables import render
from hivemind.errors import Invalid, Unavailable
from hivemind.model.cluster import (
    ClusterMember,
    ClusterStatus,
    ConfigureRequest,
    FoundRequest,
    JoinRequest,
    JoinStep,
)
from hivemind.model.quantity import read

_STEPS = {
    "contacting": "asking the hive",
    "admitted": "the hive has let this node in",
    "adopting": "what this node had agreed becomes the hive's",
    "catching-up": "learning what was agreed",
    "ready": "of the hive",
}
_BACK = 60.0
"""Seconds that a daemon may be away while a join is followed."""


def init(context: Context) -> None:
    args = context.args
    wish = {
        "name": args.get("name"), "address": args.get("address"), "max_voters": args.get("max_voters"),
        "require_bft": bool(args.require_bft), "engine": args.get("engine"),
    }  # fmt: skip
    asked = read({key: value for key, value in wish.items() if value is not None}, FoundRequest)
    made = context.hive.cluster.init(asked)
    context.print(f"{made.name} is founded; this node, {made.node_name}, decides alone until others join")
    context.print(f"other nodes reach it at {made.address}")
    context.note(
        "Next: hivemind cluster token create; then on each other machine: hivemind cluster join TOKEN"
    )


def join(context: Context) -> None:
    """Follows the join to its end, also over a start of the daemon."""
    args = context.args
    token = args.get("invitation") or sys.stdin.readline()
    if not token.strip():
        raise Invalid(
            "no join token was given", hint="hivemind cluster token create, on a node of the hive, makes one"
        )
    if args.forget_own:
        agree(
            context, "All apps, jobs, secrets and volumes that this node has agreed with itself are removed."
        )
    wish = JoinRequest(
        token=token.strip(),
        address=args.get("address") or "",
        witness=args.witness,
        forget_own=args.forget_own,
        seeds=tuple(args.get("seed") or ()),
    )
    with Live(context.terminal) as live:
        try:
            _follow(context, wish, live)
        except KeyboardInterrupt:
            if live.begun:
                context.note("The join goes on without you: hivemind cluster status shows how far it is.")
            raise
    status = context.hive.cluster.status()
    context.print(f"{status.node_name} is of the hive {status.name}, as a {status.role}")
    context.note(_decides(status))


def _follow(context: Context, wish: JoinRequest, live: Live) -> None:
    """A daemon that is started anew meanwhile goes on by itself; so does this."""
    away = 0.0
    while True:
        try:
            for step in context.hive.cluster.join(wish):
                away = 0.0
                live.update("joining", [_line(step)])
            return
        except Unavailable:
            if not live.begun or _is_joined_or_alone(context):
                raise
            away = away or time.monotonic() + _BACK
            if time.monotonic() > away:
                raise
            time.sleep(0.2)


def _is_joined_or_alone(context: Context) -> bool:
    """Its daemon answers, and there is nothing to follow any more."""
    try:
        return not context.hive.cluster.status().step
    except Unavailable:
        return False


def _line(step: JoinStep) -> Line:
    return Line("join", step.step, step.detail or _STEPS.get(step.step, ""))


def leave(context: Context) -> None:
    status = context.hive.cluster.status()
    agree(
        context,
        f"{status.node_name} leaves the hive {status.name}: what it runs moves away, data of volumes here goes.",
    )
    context.hive.cluster.leave(force=context.args.force)
    context.print(f"{status.node_name} is alone now")


def expel(context: Context) -> None:
    name = str(context.args.node)
    agree(context, f"{name} is taken out of the hive for ever, and what it runs is lost.")
    context.hive.cluster.expel(name, context.args.get("reason") or "")
    context.print(f"{name} is expelled")


def configure(context: Context) -> None:
    args = context.args
    wish = {
        "max_voters": args.get("max_voters"), "require_bft": args.get("require_bft"),
        "rotation": args.get("rotation"), "rebalance": args.get("rebalance"),
    }  # fmt: skip
    given = {key: value for key, value in wish.items() if value is not None}
    if not given:
        raise Invalid(
            "nothing was said that shall change", hint="hivemind cluster configure --help lists what can"
        )
    context.hive.cluster.configure(read(given, ConfigureRequest))
    context.print("agreed")


def status(context: Context) -> None:
    found = context.hive.cluster.status()
    if context.args.output in ("json", "yaml"):
        show_data(context, msgspec.to_builtins(found))
        return
    for line in overview(context, found):
        context.print(line)
    if not found.name:
        context.note(
            "This node is alone. hivemind cluster init founds a hive; hivemind cluster join TOKEN joins one."
        )


def overview(context: Context, found: ClusterStatus) -> list[str]:
    """What `status` prints, line by line."""
    paint = context.terminal.paint
    lines = [f"{key + ':':<11} {value}" for key, value in _facts(found).items()]
    can = paint("yes", "green") if found.can_decide else paint(f"no: {found.why_not}", "red")
    lines.append(f"{'decides:':<11} {can}")
    if found.step:
        lines.append(f"{'joining:':<11} {_STEPS.get(found.step, found.step)}")
    lines += [f"{'caught:':<11} {paint(each, 'red')}" for each in found.evidence]
    lines += [f"{'problem:':<11} {paint(each, 'yellow')}" for each in found.problems]
    if found.members:
        lines += ["", *_members(context, found)]
    return lines


def _facts(found: ClusterStatus) -> dict[str, str]:
    voters = sum(member.voter for member in found.members)
    primary = next((member.name for member in found.members if member.primary), "")
    facts = {
        "hive": f"{found.name or '(alone)'} ({short(found.hive)})"
        + (f", lineage {found.lineage}" if found.lineage else ""),
        "node": f"{found.node_name} ({short(found.node)}), {_as(found)}",
    }
    if found.address:
        facts["address"] = found.address
    if found.name:
        facts["agreement"] = f"{found.engine}, epoch {found.epoch}" + (
            f", view {found.view}, primary {primary}" if primary and found.engine == "pbft" else ""
        )
        facts["voters"] = f"{voters} of at most {found.max_voters}; {_bears(found)}"
    facts["agreed"] = f"{found.sequence}" + (f", {found.lag} behind" if found.lag else "")
    return facts


def _as(found: ClusterStatus) -> str:
    return found.role if found.ledger == "alone" else f"{found.role}, {found.ledger}"


def _bears(found: ClusterStatus) -> str:
    if not found.crashes:
        return "all of them are needed"
    lies = (
        f", {found.faults} that lie{'s' if found.faults == 1 else ''}" if found.faults else ", none that lies"
    )
    return f"bears {found.crashes} gone{lies}"


def _decides(found: ClusterStatus) -> str:
    if found.ledger == "voter":
        return "It decides with the others. hivemind cluster status shows them."
    if found.role == "worker":
        return "It follows what the others decide. hivemind cluster status shows them."
    return "It decides with the others as soon as there is a seat for it. hivemind cluster status shows that."


def _members(context: Context, found: ClusterStatus) -> list[str]:
    rows = [_row(found, member) for member in found.members]
    headers = ("NAME", "ROLE", "REACHED", "AGREED", "VOTES", "HEARD", "ALLOCS", "ADDRESS")
    return render(headers, rows, context.terminal.width, context.terminal.mood)


def _row(found: ClusterStatus, member: ClusterMember) -> tuple[str, ...]:
    mine = member.id == found.node
    return (
        member.name + ("*" if mine else ""),
        member.role,
        "-" if mine else member.reach,
        member.agreed + (f" ({member.restarting}s)" if member.restarting else ""),
        member.votes,
        "-" if mine else age(member.heard),
        str(member.allocations),
        member.address or "-",
    )
