"""`hivemind status`, `version` and `help`."""

from __future__ import annotations

import msgspec

import hivemind
from hivemind.cli import declarations
from hivemind.cli.command import whole
from hivemind.cli.context import Context
from hivemind.cli.output import age, short, show_data
from hivemind.errors import HivemindError, Invalid, nearest


def status(context: Context) -> None:
    hive, paint = context.hive, context.terminal.mood
    info = hive.status()
    apps, nodes = hive.apps.list(None), hive.nodes.list()
    live = [a for a in hive.allocations.list(None) if a.state in ("placed", "healthy")]
    healthy = sum(a.state == "healthy" for a in live)
    if context.args.output in ("json", "yaml"):
        counts = {"apps": len(apps), "nodes": len(nodes), "allocations": len(live), "healthy": healthy}
        show_data(context, {**msgspec.to_builtins(info), **counts})
        return
    phases: dict[str, int] = {}
    for app in apps:
        phases[app.status.phase] = phases.get(app.status.phase, 0) + 1
    facts = {
        "node": f"{info.node_name} ({short(info.node)}), up {age(info.started)}, version {info.version}",
        "hive": f"{short(info.hive)}, {len(nodes)} node{'s' if len(nodes) != 1 else ''}",
        "runtime": f"{info.runtime}, network {info.network}",
        "names": f"{info.dns} (dig @{info.dns.rpartition(':')[0]} -p {info.dns.rpartition(':')[2]} NAME)"
        if info.dns
        else "-",
        "apps": f"{len(apps)}"
        + (f": {', '.join(f'{n} {paint(p)}' for p, n in sorted(phases.items()))}" if apps else ""),
        "replicas": f"{len(live)}" + (f", {healthy} healthy" if live else ""),
    }
    for key, value in facts.items():
        context.print(f"{key + ':':<10} {value}")
    for problem in info.problems:
        context.print(f"{'problem:':<10} {context.terminal.paint(problem, 'yellow')}")
    if not apps:
        context.note(
            "Nothing is deployed yet: hivemind app deploy --image nginx:latest --name web-app --port 8080:80"
        )


def version(context: Context) -> None:
    server, why = "", ""
    try:
        server = context.hive.status().version
    except HivemindError as error:
        why = error.message
    if context.args.output in ("json", "yaml"):
        show_data(context, {"client": hivemind.__version__, "server": server or None})
        return
    context.print(f"hivemind {hivemind.__version__}")
    context.print(f"daemon   {server or f'- ({why})'}")


def help(context: Context) -> None:
    from hivemind.cli import help as layout

    words, width = tuple(context.args.command), min(context.terminal.width, 100)
    if not words:
        text = layout.root(width)
    elif command := declarations.find(words):
        text = layout.command(whole(command), width)
    elif noun := declarations.group(words[0]) if len(words) == 1 else None:
        text = layout.group(noun, width)
    else:
        known = [" ".join(c.words) for c in declarations.COMMANDS if not c.hidden]
        raise Invalid(
            f"there is no command {' '.join(words)!r}",
            hint=nearest(" ".join(words), known) or "hivemind --help lists what there is",
        )
    context.terminal.out.write(text)
