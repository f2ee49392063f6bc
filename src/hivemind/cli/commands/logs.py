"""`hivemind logs` and `app logs`: what apps or replicas wrote."""

from __future__ import annotations

import datetime
import heapq
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from hivemind.cli.context import Context
from hivemind.cli.targets import App, Replica, container_of, resolve
from hivemind.cli.terminal import Terminal
from hivemind.cli.times import moment
from hivemind.errors import HivemindError, Invalid
from hivemind.model.answers import LogEntry

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")
_AHEAD = 256
"""Lines read ahead of a slow terminal."""

Target = App | Replica


def logs(context: Context) -> None:
    names = context.args.name
    targets = [resolve(context, name) for name in ([names] if isinstance(names, str) else names)]
    wanted = _wanted(context)
    several = len(targets) > 1
    printers = {
        number: Printer(
            context, _prefix(context, target, several=several), timestamps=context.args.timestamps
        )
        for number, target in enumerate(targets)
    }
    if not several:
        for entry in _entries(context, targets[0], wanted):
            printers[0].print(entry)
        return
    merged = _as_they_come if context.args.follow else _by_time
    for number, entry in merged([_entries(context, target, wanted) for target in targets]):
        printers[number].print(entry)


def _prefix(context: Context, target: Target, *, several: bool) -> str:
    if context.args.no_prefix:
        return ""
    if isinstance(target, App):
        return target.name
    return target.document.app if several else ""


@dataclass(frozen=True)
class _Wanted:
    tail: int | None
    since: int
    until: int


def _wanted(context: Context) -> _Wanted:
    args = context.args
    since = int(moment(args.since, "--since") * 10**9) if args.since else 0
    until = int(moment(args.until, "--until") * 10**9) if args.until else 0
    if args.follow and (until or args.previous):
        what = "--until" if until else "--previous"
        raise Invalid(f"--follow goes on and {what} ends", hint="give one of them")
    if since and until and until < since:
        raise Invalid("--until is before --since", hint="exchange them")
    return _Wanted(_tail(args.tail), since, until)


def _entries(context: Context, target: Target, wanted: _Wanted) -> Iterator[LogEntry]:
    args, project = context.args, context.project
    grep, container = args.grep or "", container_of(context, target)
    if isinstance(target, App):
        apps = context.hive.apps
        if container:
            raise Invalid("--container is of one replica", hint=f"name it: {target.name}.0/{container}")
        if args.follow:
            return apps.logs_follow(target.name, project, tail=wanted.tail, since=wanted.since, grep=grep)
        return apps.logs(
            target.name, project, tail=wanted.tail, since=wanted.since, until=wanted.until, grep=grep,
            previous=args.previous,
        )  # fmt: skip
    allocations = context.hive.allocations
    if args.follow:
        return allocations.logs_follow(
            target.id, project, tail=wanted.tail, since=wanted.since, grep=grep, container=container
        )
    return allocations.logs(
        target.id, project, tail=wanted.tail, since=wanted.since, until=wanted.until, grep=grep,
        previous=args.previous, container=container,
    )  # fmt: skip


def _by_time(sources: list[Iterator[LogEntry]]) -> Iterator[tuple[int, LogEntry]]:
    def numbered(number: int, source: Iterator[LogEntry]) -> Iterator[tuple[int, int, LogEntry]]:
        return ((entry.time, number, entry) for entry in source)

    streams = [numbered(number, source) for number, source in enumerate(sources)]
    for _, number, entry in heapq.merge(*streams, key=lambda item: item[:2]):
        yield number, entry


def _as_they_come(sources: list[Iterator[LogEntry]]) -> Iterator[tuple[int, LogEntry]]:
    """A thread reads each. The first error ends all."""
    arrived: queue.Queue[tuple[int, LogEntry | HivemindError | None]] = queue.Queue(_AHEAD)

    def read(number: int, source: Iterator[LogEntry]) -> None:
        try:
            for entry in source:
                arrived.put((number, entry))
            arrived.put((number, None))
        except HivemindError as error:
            arrived.put((number, error))

    for number, source in enumerate(sources):
        threading.Thread(target=read, args=(number, source), name="logs", daemon=True).start()
    left = len(sources)
    while left:
        number, item = arrived.get()
        if isinstance(item, HivemindError):
            raise item
        if item is None:
            left -= 1
        else:
            yield number, item


def _tail(text: str | None) -> int | None:
    if text is None or text == "all":
        return None
    if not text.isdigit():
        raise Invalid(f"--tail {text!r} is not a number of lines", hint="give a number, or all")
    return int(text)


def warn_unreached(terminal: Terminal, nodes: list[str]) -> None:
    for each in nodes:
        terminal.err.write(f"{terminal.paint('warning:', 'yellow')} {each}\n")
    terminal.err.flush()


class Printer:
    """Prints lines as they come. With `app`, each begins with its replica, in that replica's colour."""

    def __init__(self, context: Context, app: str = "", *, timestamps: bool = False) -> None:
        self._terminal = context.terminal
        self._app = app
        self._timestamps = timestamps

    def print(self, entry: LogEntry) -> None:
        if entry.stream == "notice":
            warn_unreached(self._terminal, [entry.text])
            return
        prefix = ""
        if self._app:
            colour = _COLOURS[(entry.slot + sum(map(ord, self._app))) % len(_COLOURS)]
            prefix = self._terminal.paint(f"{self._app}.{entry.slot} | ", colour)
        if self._timestamps:
            when = datetime.datetime.fromtimestamp(entry.time // 10**9, datetime.UTC)
            prefix += self._terminal.paint(f"{when:%Y-%m-%dT%H:%M:%S}.{entry.time % 10**9:09d}Z ", "dim")
        # As docker does, standard error goes to standard error; an app's replicas stay in one stream.
        stream = self._terminal.err if entry.stream == "stderr" and not self._app else self._terminal.out
        stream.write(f"{prefix}{entry.text}\n")
        stream.flush()
