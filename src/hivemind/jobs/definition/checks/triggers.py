"""What starts the job, and whom it tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hivemind.errors import Invalid
from hivemind.jobs import schedule
from hivemind.jobs.definition.checks import expressions
from hivemind.jobs.definition.finding import Findings, Path, did_you_mean
from hivemind.jobs.inputs import check_value
from hivemind.model.job import ADDRESSED, Input, JobSpec, Notify

_EVENT = {"event": None}


def check(spec: JobSpec, findings: Findings) -> None:
    triggers, top = spec.triggers, ("spec", "triggers")
    for number, one in enumerate(triggers.schedule):
        path: Path = (*top, "schedule", number)
        try:
            schedule.check(one)
        except Invalid as error:
            field = next((name for name in ("cron", "every", "at", "timezone", "since", "until")
                          if name in error.message and getattr(one, name) is not None), "")  # fmt: skip
            findings.add_error((*path, field) if field else path, error)
        _inputs(one.inputs, (*path, "inputs"), spec.inputs, findings, whole=True)
    for kind in ("webhook", "event", "file", "job", "app"):
        for number, trigger in enumerate(getattr(triggers, kind)):
            path = (*top, kind, number)
            if trigger.if_:
                expressions.verify(trigger.if_, (*path, "if"), _EVENT, findings)
            _inputs(trigger.inputs, (*path, "inputs"), spec.inputs, findings)
            expressions.verify(trigger.inputs, (*path, "inputs"), _EVENT, findings, templates=True)
    for number, event in enumerate(triggers.event):
        if event.type in ADDRESSED:
            findings.add((*top, "event", number, "type"), f"nobody can post events of the type {event.type}",
                         f"write {event.type}: instead of event:")  # fmt: skip
    _twins([one.name for one in triggers.webhook], (*top, "webhook"), "webhooks", findings)
    _twins([one.name for one in triggers.schedule if one.name], (*top, "schedule"), "schedules", findings)
    for number, file in enumerate(triggers.file):
        if file.volume is None and not file.path.startswith("/"):
            findings.add((*top, "file", number, "path"), f"{file.path!r} is below no volume and not absolute",
                         "name the volume, or begin the path with /")  # fmt: skip
        if ".." in file.path.split("/"):
            findings.add((*top, "file", number, "path"), f"{file.path} goes upwards", "write it without ..")
    for number, addressee in enumerate(spec.notify):
        _notify(addressee, ("spec", "notify", number), findings)


def _inputs(
    given: Mapping[str, Any],
    path: Path,
    declared: Mapping[str, Input],
    findings: Findings,
    *,
    whole: bool = False,
) -> None:
    for name, value in given.items():
        if name not in declared:
            hint = did_you_mean(name, declared) or "declare it under inputs"
            findings.add((*path, name), f"the job has no input '{name}'", hint, key=True)
        elif whole:
            try:
                check_value(name, value, declared[name])
            except Invalid as error:
                findings.add_error((*path, name), error)
    for name, one in declared.items():
        if one.required and name not in given:
            findings.add(
                path[:-1],
                f"the input {name} is required, and this gives none",
                f"write inputs: {{{name}: …}}",
            )


def _twins(names: list[str], path: Path, what: str, findings: Findings) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            findings.add((*path, number), f"two {what} are called {name}", "give each a name of its own")


def _notify(one: Notify, path: Path, findings: Findings) -> None:
    ways = [name for name in ("webhook", "slack", "email") if getattr(one, name)]
    if len(ways) != 1:
        what = f"both {ways[0]} and {ways[1]}" if ways else "nobody"
        findings.add(path, f"the notification tells {what}", "give it one of webhook, slack, email")
    if one.signed_with and not one.webhook:
        findings.add((*path, "signed_with"), "'signed_with' is of a webhook", "leave it out", key=True)
    if one.smtp and not one.email:
        findings.add((*path, "smtp"), "'smtp' is of e-mail", "give email, too", key=True)
    if one.email and not one.smtp:
        findings.add(
            (*path, "email"), "e-mail needs a server", "write smtp: smtp://host:587 or secret:mail/url"
        )
    for name in ("webhook", "slack"):
        value = getattr(one, name)
        if value and not value.startswith(("http://", "https://", "secret:")):
            findings.add((*path, name), f"{value!r} is no URL", "or secret:<name>/<key> that holds one")
    if one.smtp and not one.smtp.startswith(("smtp://", "smtps://", "secret:")):
        findings.add(
            (*path, "smtp"), f"{one.smtp!r} is no mail server", "write smtp://host:587 or secret:mail/url"
        )
