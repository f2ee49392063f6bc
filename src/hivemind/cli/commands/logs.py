"""`hivemind logs` and `app logs`: what an app or one replica wrote."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from hivemind.cli.context import Context
from hivemind.cli.targets import App, Replica, resolve
from hivemind.cli.times import moment
from hivemind.errors import Invalid
from hivemind.model.answers import LogEntry

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")


def logs(context: Context) -> None:
    args = context.args
    target = resolve(context, args.name)
    printer = Printer(
        context,
        target.name if isinstance(target, App) and not args.no_prefix else "",
        timestamps=args.timestamps,
    )
    for entry in _entries(context, target):
        printer.print(entry)


def _entries(context: Context, target: App | Replica) -> Iterator[LogEntry]:
    args, project = context.args, context.project
    tail = _tail(args.tail)
    since = int(moment(args.since, "--since") * 10**9) if args.since else 0
    until = int(moment(args.until, "--until") * 10**9) if args.until else 0
    if args.follow and until:
        raise Invalid("--follow goes on and --until ends", hint="give one of them")
    if isinstance(target, App):
        apps = context.hive.apps
        if args.follow:
            return apps.logs_follow(target.name, project, tail=tail, since=since)
        return apps.logs(target.name, project, tail=tail, since=since, until=until)
    allocations = context.hive.allocations
    if args.follow:
        return allocations.logs_follow(target.id, project, tail=tail, since=since)
    return allocations.logs(target.id, project, tail=tail, since=since, until=until)


def _tail(text: str | None) -> int | None:
    if text is None or text == "all":
        return None
    if not text.isdigit():
        raise Invalid(f"--tail {text!r} is not a number of lines", hint="give a number, or all")
    return int(text)


class Printer:
    """Prints lines as they come. With `app`, each begins with its replica, in that replica's colour."""

    def __init__(self, context: Context, app: str = "", *, timestamps: bool = False) -> None:
        self._terminal = context.terminal
        self._app = app
        self._timestamps = timestamps

    def print(self, entry: LogEntry) -> None:
        prefix = ""
        if self._app:
            colour = _COLOURS[entry.slot % len(_COLOURS)]
            prefix = self._terminal.paint(f"{self._app}.{entry.slot} | ", colour)
        if self._timestamps:
            when = datetime.datetime.fromtimestamp(entry.time // 10**9, datetime.UTC)
            prefix += self._terminal.paint(f"{when:%Y-%m-%dT%H:%M:%S}.{entry.time % 10**9:09d}Z ", "dim")
        # As docker does, standard error goes to standard error; an app's replicas stay in one stream.
        stream = self._terminal.err if entry.stream == "stderr" and not self._app else self._terminal.out
        stream.write(f"{prefix}{entry.text}\n")
        stream.flush()
