"""`hivemind job` where it is about runs: status, logs, cancel, retry, pause, approve, history, artifacts, the queue."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from hivemind.cli.archives import stream_of, unpack
from hivemind.cli.commands.logs import warn_unreached
from hivemind.cli.context import Context
from hivemind.cli.jobs import tree
from hivemind.cli.jobs.canvas import Canvas
from hivemind.cli.jobs.following import INTERRUPTED, follow, leaving
from hivemind.cli.jobs.marks import marks_for, painted
from hivemind.cli.jobs.watched import Watched, exit_code, now_ms
from hivemind.cli.output import age, show_data, show_list
from hivemind.cli.tables import printable, render
from hivemind.cli.times import moment
from hivemind.errors import Corrupt, Invalid, NotFound
from hivemind.model.answers import LogEntry
from hivemind.model.quantity import show_bytes
from hivemind.model.run import RUN, RunDocument

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue")
_NEWEST = 20


# -- looking -----------------------------------------------------------------------------------------------------


def status(context: Context) -> int:
    args, hive = context.args, context.hive
    if not args.run:
        if args.watch:
            raise Invalid("--watch needs a RUN", hint="hivemind job status without one lists runs")
        newest = sorted(hive.runs.of("", context.project), key=lambda run: run.created)[-_NEWEST:]
        show_list(context, RUN, newest[::-1])
        return 0
    run = hive.runs.get(args.run, context.project)
    if args.output in ("json", "yaml"):
        tasks = hive.runs.tasks(run.id, context.project)
        show_data(context, {"run": msgspec.to_builtins(run), "tasks": msgspec.to_builtins(tasks)})
        return 0
    if args.watch:
        return follow(context, run)
    _tree(context, run)
    return 0


def describe(context: Context, run: RunDocument) -> None:
    """Its tree, below what it was begun with and what came of it."""
    context.print(
        f"run {run.name} of job {run.job}, definition {run.definition}, started by {run.start.told}"
    )
    for noun, values in (("input", run.inputs), ("output", run.outputs)):
        for name, value in sorted(values.items()):
            context.print(f"  {noun} {name} = {printable(value if isinstance(value, str) else _json(value))}")
    _tree(context, run)
    for mark in run.marks:
        told = "  ".join(part for part in (mark.state, mark.why, f"by {mark.by}" if mark.by else "") if part)
        context.print(f"  {_clock(mark.time)}  {printable(told)}")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _tree(context: Context, run: RunDocument) -> None:
    watched = Watched(context, run).read()
    terminal, args, now = context.terminal, context.args, now_ms()

    def paint(text: str, state: str) -> str:
        return painted(terminal, text, state)

    context.print(paint(tree.headline(run, now), run.state))
    marks = marks_for(terminal, ascii=bool(args.get("ascii")))
    shown = tree.lines(watched.shape, marks, terminal.width, paint, now, everything=bool(args.get("all")))
    for line in shown:
        context.print(line)


def history(context: Context) -> None:
    args = context.args
    run = context.hive.runs.get(args.run, context.project)
    entries = list(context.hive.runs.history(run.id, context.project, path=args.task or ""))
    if args.output in ("json", "yaml"):
        show_data(context, {"items": msgspec.to_builtins(entries)})
        return
    rows = [
        [_clock(entry.time), entry.path or run.name, entry.state, entry.by or "-", entry.why or "-"]
        for entry in entries
    ]
    headers = ["TIME", "TASK", "STATE", "BY", "WHY"]
    for line in render(headers, rows, context.terminal.width, context.terminal.mood):
        context.print(line)


def _clock(milliseconds: int) -> str:
    when = datetime.datetime.fromtimestamp(milliseconds / 1000).astimezone()
    return f"{when:%m-%d %H:%M:%S}.{milliseconds % 1000:03}"


def queue(context: Context) -> None:
    waiting = context.hive.queue.list(context.project, limit=context.args.limit or 100)
    if context.args.output in ("json", "yaml"):
        show_data(context, {"items": msgspec.to_builtins(waiting)})
        return
    if not waiting:
        context.note("Nothing waits.")
        return
    rows = [
        [
            str(w.position or "-"),
            f"{w.run}/{w.path}".rstrip("/"),
            str(w.priority),
            age(w.ready),
            w.reason or "-",
        ]
        for w in waiting
    ]
    headers = ["#", "TASK", "PRIORITY", "WAITS", "REASON"]
    for line in render(headers, rows, context.terminal.width):
        context.print(line)


# -- logs --------------------------------------------------------------------------------------------------------


def logs(context: Context) -> None:
    args, runs = context.args, context.hive.runs
    run = runs.get(args.run, context.project)
    since = int(moment(args.since, "--since") * 10**9) if args.since else 0
    until = int(moment(args.until, "--until") * 10**9) if args.until else 0
    if args.follow and until:
        raise Invalid("--follow goes on and --until ends", hint="give one of them")
    tail, task, attempt = _tail(args.tail), args.task or "", args.attempt or 0
    printer = _Printer(context, plain=bool(args.no_prefix), timestamps=bool(args.timestamps))
    if args.follow:
        entries = runs.logs_follow(
            run.id, context.project, task=task, attempt=attempt, tail=tail, since=since, grep=args.grep or ""
        )
    else:
        entries = runs.logs(
            run.id, context.project, task=task, attempt=attempt, tail=tail, since=since, until=until,
            grep=args.grep or "",
        )  # fmt: skip
    printer.print(entries)


def follow_logs(context: Context, run: RunDocument) -> int:
    """What its tasks write until it has ended; the exit code that says how."""
    runs = context.hive.runs
    try:
        _Printer(context).print(runs.logs_follow(run.id, context.project))
    except KeyboardInterrupt:
        context.note(leaving(run.name))
        return INTERRUPTED
    ended = runs.get(run.id, context.project)
    context.note(painted(context.terminal, tree.headline(ended, now_ms()), ended.state))
    return exit_code(ended)


def _tail(text: str | None) -> int | None:
    if text is None or text == "all":
        return None
    if not text.isdigit():
        raise Invalid(f"--tail {text!r} is not a number of lines", hint="give a number, or all")
    return int(text)


class _Printer:
    """Each line begins with its task, in that task's colour, and from the second attempt on with its number."""

    def __init__(self, context: Context, *, plain: bool = False, timestamps: bool = False) -> None:
        self._terminal = context.terminal
        self._plain = plain
        self._timestamps = timestamps

    def print(self, entries: Iterable[LogEntry]) -> None:
        for entry in entries:
            if entry.stream == "notice":
                warn_unreached(self._terminal, [entry.text])
                continue
            prefix = "" if self._plain else self._prefix(entry)
            if self._timestamps:
                when = datetime.datetime.fromtimestamp(entry.time // 10**9, datetime.UTC)
                prefix += self._terminal.paint(f"{when:%Y-%m-%dT%H:%M:%S}.{entry.time % 10**9:09d}Z ", "dim")
            self._terminal.out.write(f"{prefix}{entry.text}\n")
            self._terminal.out.flush()

    def _prefix(self, entry: LogEntry) -> str:
        rank = f".{entry.slot}" if entry.slot else ""
        attempt = f" #{entry.attempt}" if entry.attempt > 1 else ""
        colour = _COLOURS[sum(map(ord, entry.path)) % len(_COLOURS)]
        return self._terminal.paint(f"{entry.path}{rank}{attempt} | ", colour)


# -- steering ----------------------------------------------------------------------------------------------------


def cancel(context: Context) -> int:
    args, runs = context.args, context.hive.runs
    before = runs.get(args.run, context.project)
    if before.ended:
        context.print(f"run/{before.name} had ended: {before.state}")
        return 0
    run = runs.cancel(
        before.id, context.project, paths=tuple(args.task), reason=args.reason or "", kill=bool(args.kill)
    )
    if args.task:
        context.print(f"{', '.join(args.task)} of run/{run.name} canceled")
        return 0
    if args.detach or run.ended:
        context.print(f"run/{run.name} {'being canceled' if not run.ended else run.state}")
        return 0
    return _until_canceled(context, run)


def _until_canceled(context: Context, run: RunDocument) -> int:
    watched = Watched(context, run)
    with Canvas(context.terminal) as canvas:
        for _ in watched.changes():
            going = [path for path, task in watched.tasks.items() if task.state == "running"]
            canvas.paint([f"{run.name}: canceling", *(f"  {path} still runs" for path in going)])
        canvas.clear()
    context.print(f"run/{run.name} {watched.run.state}")
    return 0


def retry(context: Context) -> int:
    args = context.args
    run = context.hive.runs.retry(args.run, context.project, paths=tuple(args.start))
    if args.detach:
        context.print(run.name)
        return 0
    return follow(context, run, since=max((mark.time for mark in run.marks), default=0))


def pause(context: Context) -> None:
    _pause(context, paused=True)


def resume(context: Context) -> None:
    _pause(context, paused=False)


def _pause(context: Context, *, paused: bool) -> None:
    """A queue by its key; else a job of that name, else a run."""
    args, hive, project = context.args, context.hive, context.project
    word = "paused" if paused else "resumed"
    if args.queue is not None:
        if args.name:
            raise Invalid("a name and --queue are given", hint="leave out one of them")
        (hive.queue.pause if paused else hive.queue.resume)(args.queue, project)
        context.print(f"queue {args.queue or 'of all of the project'} {word}")
        return
    if not args.name:
        raise Invalid("what is meant?", hint="name a job or a run, or give --queue KEY")
    try:
        job = hive.jobs.get(args.name, project)
    except NotFound:
        if args.schedule:
            raise
        run = _run(context, args.name)
        (hive.runs.pause if paused else hive.runs.unpause)(run.id, project)
        context.print(f"run/{run.name} {word}")
        return
    (hive.jobs.pause if paused else hive.jobs.resume)(job.name, project, schedules=tuple(args.schedule))
    what = f"schedule {', '.join(args.schedule)} of job/{job.name}" if args.schedule else f"job/{job.name}"
    context.print(f"{what} {word}")


def _run(context: Context, name: str) -> RunDocument:
    try:
        return context.hive.runs.get(name, context.project)
    except NotFound:
        raise NotFound(
            f"there is no job or run {name!r} in project {context.project!r}",
            hint="hivemind job ls shows the jobs, hivemind job status the newest runs",
        ) from None


def approve(context: Context) -> None:
    args = context.args
    run = context.hive.runs.approve(
        args.run, context.project, path=args.task or "", approved=not args.reject, comment=args.message or ""
    )
    context.print(f"run/{run.name} {'rejected' if args.reject else 'approved'}")


# -- artifacts ---------------------------------------------------------------------------------------------------


def artifacts(context: Context) -> None:
    args, runs = context.args, context.hive.runs
    run = runs.get(args.run, context.project)
    left = runs.left(run.id, context.project)
    found = [each for each in left.items if _within(each.path, args.task or "")]
    warn_unreached(context.terminal, left.unreached)
    if args.out:
        for each in found:
            pieces = runs.read_artifact(run.id, each.path, each.name, context.project)
            place = Path(args.out) / each.path
            _unpack(pieces, place)
            context.print(f"{place / each.name}")
        if not found:
            raise NotFound(f"{run.name} has left no such artifacts", hint=f"hivemind job status {run.name}")
        return
    if args.output in ("json", "yaml"):
        show_data(context, {"items": msgspec.to_builtins(found)})
        return
    if not found:
        context.note(f"{run.name} has left no artifacts.")
        return
    rows = [[a.path, a.name, show_bytes(a.size), str(a.files), str(a.attempt), a.node] for a in found]
    headers = ["TASK", "NAME", "SIZE", "FILES", "ATTEMPT", "NODE"]
    for line in render(headers, rows, context.terminal.width):
        context.print(line)


def _within(path: str, around: str) -> bool:
    return not around or path == around or bool(re.match(rf"{re.escape(around)}[.\[]", path))


def _unpack(pieces: Iterator[bytes], into: Path) -> None:
    """Nothing of an archive gets outside of that directory, whatever it says."""
    with closing(stream_of(pieces)) as archive:
        first = archive.next()
        if first is None:
            raise Corrupt("the archive of an artifact is empty", hint="fetch it again")
        try:
            into.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Invalid(f"{into} cannot be written: {error.strerror}") from None
        unpack(archive, first, str(into), first.name.rstrip("/").rsplit("/", 1)[-1], owners=False)
