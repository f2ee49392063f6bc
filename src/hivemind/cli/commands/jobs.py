"""`hivemind job` where it is about jobs: put, run, list, show, remove, schedules, backfills."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

import msgspec

from hivemind.cli.commands.apply import remove
from hivemind.cli.commands.get import fetch
from hivemind.cli.context import Context
from hivemind.cli.jobfile import Job, load
from hivemind.cli.jobs.following import follow
from hivemind.cli.jobs.naming import is_file, only_job, within
from hivemind.cli.output import age, show_data, show_list, table
from hivemind.cli.plans import show_plan
from hivemind.cli.tables import printable, render
from hivemind.cli.times import moment
from hivemind.errors import Invalid, NotFound, nearest
from hivemind.model.job import JOB, PRIORITIES, Input, JobDocument, JobManifest, Schedule
from hivemind.model.quantity import show_seconds
from hivemind.model.run import RUN

_RUNS_SHOWN = 5


# -- running -----------------------------------------------------------------------------------------------------


def run(context: Context) -> int:
    args, hive = context.args, context.hive
    if args.detach and args.follow:
        raise Invalid("--detach returns at once, --follow prints until the end", hint="give one of them")
    priority = _priority(args.priority)
    if is_file(args.job):
        manifest, context = only_job(context, args.job)
        name, declared = manifest.name, manifest.spec.inputs
        inputs = _inputs(context, declared)
        if args.dry_run:
            show_plan(context, hive.jobs.plan(manifest, context.project))
            return 0
        _put(context, manifest)
    else:
        name = args.job
        inputs = _inputs(context, fetch(context, JOB, name).spec.inputs)
        if args.dry_run:
            context.print(f"would start a run of {name}")
            return 0
    begun = hive.jobs.run(name, context.project, inputs=inputs, priority=priority, key=args.key or "")
    if args.detach:
        context.print(begun.name)
        return 0
    if args.follow:
        from hivemind.cli.commands.runs import follow_logs

        return follow_logs(context, begun)
    if not context.terminal.interactive:
        context.note(begun.name)
    return follow(context, begun)


def _priority(text: str | None) -> int | None:
    if text is None:
        return None
    if text.lower() in PRIORITIES:
        return PRIORITIES[text.lower()]
    if text.isdigit() and int(text) <= 100:
        return int(text)
    raise Invalid(f"--priority {text!r} is no priority", hint="high, medium, low, or a number from 0 to 100")


def _inputs(context: Context, declared: dict[str, Input]) -> dict[str, Any]:
    """What was given, each as its input's type wants it."""
    given: dict[str, Any] = {}
    for option, pairs in (("--input", context.args.input), ("--input-file", context.args.input_file)):
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if not equals or not name:
                raise Invalid(f"{option} {pair!r} is not K=V", hint=f"write it like {option} day=mon")
            if name in given:
                raise Invalid(f"the input {name} is given twice")
            if option == "--input-file":
                text = _held(text, option)
            given[name] = _value(name, text, declared)
    return given


def _held(path: str, option: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Invalid(f"{option}: {path} is not UTF-8 text", hint="inputs are text") from None
    except OSError as error:
        raise Invalid(f"{option}: {path} cannot be read: {error.strerror}") from None


def _value(name: str, text: str, declared: dict[str, Input]) -> Any:
    one = declared.get(name)
    if one is None:
        known = nearest(name, declared) or (f"its inputs: {', '.join(sorted(declared))}" if declared else "")
        raise Invalid(f"the job has no input {name!r}", hint=known or "it has none")
    if one.type == "string":
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        example = {"list": "[1, 2]", "object": '{"a": 1}', "boolean": "true"}.get(one.type, "3")
        raise Invalid(
            f"the input {name} is {text[:60]!r}, and its type is {one.type}",
            hint=f"write it as JSON, like --input {name}='{example}'",
        ) from None


# -- putting -----------------------------------------------------------------------------------------------------


def put(context: Context) -> None:
    found = [job for job in load(context.args.file, context.project) if job.manifest]
    _refuse_twins(found)
    documents = []
    for job in found:
        assert job.manifest is not None
        if context.args.dry_run:
            context.print(f"job/{job.manifest.name}:")
            show_plan(context, context.hive.jobs.plan(job.manifest, job.project))
        else:
            documents.append(_put(within(context, job.project), job.manifest, quiet=False))
    if context.args.output and documents:
        show_list(context, JOB, documents)


def _refuse_twins(jobs: list[Job]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for job in jobs:
        assert job.manifest is not None
        key = (job.project, job.manifest.name)
        if key in seen:
            raise Invalid(
                f"{job.source}: job/{key[1]} stands already at {seen[key]}", hint="keep one of them"
            )
        seen[key] = job.source


def _put(context: Context, manifest: JobManifest, *, quiet: bool = True) -> JobDocument:
    """Made, changed, or left as it is; which of these it was is told. `quiet`: not that it was left."""
    jobs = context.hive.jobs
    try:
        before: JobDocument | None = jobs.get(manifest.name, context.project)
    except NotFound:
        before = None
    after = jobs.put(manifest, context.project, if_version=before.version if before else None)
    if before is None:
        context.note(f"job/{after.name} created")
    elif before.version != after.version:
        context.note(f"job/{after.name} changed: definition {after.number}")
    elif not quiet:
        context.note(f"job/{after.name} unchanged")
    return after


def rm(context: Context) -> None:
    for name in context.args.name:
        remove(context, JOB, name)


# -- looking -----------------------------------------------------------------------------------------------------


def ls(context: Context) -> None:
    show_list(context, JOB, context.hive.jobs.list(context.scope))


def info(context: Context) -> None:
    job: JobDocument = fetch(context, JOB, context.args.name)
    if context.args.output in ("json", "yaml"):
        show_data(context, msgspec.to_builtins(job))
        return
    describe(context, job)


def describe(context: Context, job: JobDocument) -> None:
    paint = context.terminal.paint
    context.print(f"{paint(job.name, 'bold')}  {context.terminal.mood(job.state)}  definition {job.number}")
    if job.spec.description:
        context.print(f"  {printable(job.spec.description)}")
    for name, one in sorted(job.spec.inputs.items()):
        context.print(printable(f"  input {name}: {_told(one)}"))
    if job.next:
        context.print(f"  due next: {_when(job.next)}")
    for line in _triggers(job):
        context.print(f"  started by {line}")
    runs = context.hive.runs.of(job.name, job.project)[-_RUNS_SHOWN:]
    if runs:
        context.print()
        for line in table(context, RUN, runs):
            context.print(line)
    else:
        context.print(f"  it has not run yet: hivemind job run {job.name}")


def _told(one: Input) -> str:
    parts = [one.type, *(["required"] if one.required else []), *(["secret"] if one.secret else [])]
    if one.default is not None:
        parts.append(f"default {msgspec.json.encode(one.default).decode()}")
    return ", ".join(parts) + (f"  {one.description}" if one.description else "")


def _triggers(job: JobDocument) -> list[str]:
    on = job.spec.triggers
    found = [
        f"schedule {schedule.name or number}: {rule(schedule)}" for number, schedule in enumerate(on.schedule)
    ]
    found += [
        f"webhook {hook.name}: POST /v1/hooks/{job.project}/{job.name}/{hook.name}" for hook in on.webhook
    ]
    found += [f"event {event.type}" for event in on.event]
    found += [f"file {file.path}" for file in on.file]
    found += [f"job {other.name}: {', '.join(other.states)}" for other in on.job]
    found += [f"app {app.name}: {', '.join(app.events)}" for app in on.app]
    return found


def rule(schedule: Schedule) -> str:
    """`0 2 * * *  Europe/Paris`."""
    if schedule.cron:
        return f"{schedule.cron}  {schedule.timezone}"
    return (
        f"every {show_seconds(schedule.every)}"
        if schedule.every
        else f"at {schedule.at}  {schedule.timezone}"
    )


def _when(milliseconds: int) -> str:
    """`2026-12-24 18:00:00 (in 3h)`, in the time of this machine."""
    local = datetime.datetime.fromtimestamp(milliseconds / 1000).astimezone()
    ahead = milliseconds - time.time() * 1000
    told = f"in {age(1, ahead / 1000)}" if ahead > 0 else f"{age(milliseconds)} ago"
    return f"{local:%Y-%m-%d %H:%M:%S} ({told})"


def schedules(context: Context) -> None:
    hive, args = context.hive, context.args
    names = (
        [args.name]
        if args.name
        else [j.name for j in hive.jobs.list(context.project) if j.spec.triggers.schedule]
    )
    count = args.count or (5 if args.name else 1)
    found = [each for name in names for each in hive.jobs.schedules(name, context.project, count=count)]
    if args.output in ("json", "yaml"):
        show_data(context, {"items": [msgspec.to_builtins(each) for each in found]})
        return
    if not found:
        context.note("No schedules.")
        return
    rows = [
        [
            each.job if not number else "", each.name if not number else "",
            rule(each.schedule) if not number else "", _when(time) if time else "-",
            ("paused" if each.paused else "active") if not number else "",
        ]
        for each in found
        for number, time in enumerate(each.next or (0,))
    ]  # fmt: skip
    headers = ["JOB", "SCHEDULE", "RULE", "NEXT", "STATE"]
    for line in render(headers, rows, context.terminal.width, context.terminal.mood):
        context.print(line)


def backfill(context: Context) -> None:
    args = context.args
    if not args.since:
        raise Invalid(
            "backfill needs --since", hint="like --since 2026-01-01 --until 2026-02-01, or --since 7d"
        )
    since = int(moment(args.since, "--since") * 1000)
    until = int(moment(args.until, "--until") * 1000) if args.until else int(time.time() * 1000)
    if until <= since:
        raise Invalid("--until is not after --since", hint="exchange them")
    made = context.hive.jobs.backfill(
        args.name, since, until, context.project, schedule=args.schedule or "",
        newest_first=bool(args.newest_first), dry_run=bool(args.dry_run),
    )  # fmt: skip
    if args.dry_run:
        for due in made.times:
            context.print(f"{datetime.datetime.fromtimestamp(due / 1000).astimezone():%Y-%m-%d %H:%M:%S %Z}")
    many = f"{len(made.times)} run{'s' if len(made.times) != 1 else ''}"
    context.note(f"{many} of {args.name} would be made" if args.dry_run else f"{many} of {args.name} made")
