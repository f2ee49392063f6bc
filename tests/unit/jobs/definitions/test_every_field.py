"""Every key that a definition may have does something: here stands where. Who adds one has to say so, too.

What means nothing for some kind of task is refused there: see `bad/`."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from pathlib import Path

import msgspec
import pytest

import hivemind
from hivemind.model import job
from hivemind.model.base import Document, Record, Spec

SOURCE = Path(hivemind.__file__).parent
PEOPLE = ""
"""It is for people who read the definition."""

READ = {
    "Input": {
        "type": "jobs/inputs.py", "description": "jobs/inputs.py", "default": "jobs/inputs.py",
        "required": "jobs/inputs.py", "secret": "api/jobs/verbs.py", "choices": "jobs/inputs.py",
    },
    "Step": dict.fromkeys(
        ("id", "name", "run", "shell", "uses", "with_", "env", "workdir"), "jobs/script.py"
    ),
    "Routine": {
        "description": PEOPLE,
        **dict.fromkeys(("inputs", "outputs", "env", "run", "shell", "steps"), "jobs/script.py"),
    },
    "Retry": {
        **dict.fromkeys(("max", "delay", "backoff", "max_delay", "jitter", "on"), "jobs/workflow/retrying.py"),
        "losses": "jobs/workflow/attempts.py",
    },
    "Concurrency": dict.fromkeys(("key", "limit", "behavior"), "state/jobs/lanes.py"),
    "Rate": dict.fromkeys(("key", "limit", "per"), "state/jobs/lanes.py"),
    "Circuit": {
        **dict.fromkeys(("failures", "window", "cooldown"), "jobs/circuit.py"), "on": "state/jobs/circuits.py",
    },
    "Approval": {
        "message": "jobs/workflow/beginning.py", "timeout": "jobs/workflow/beginning.py",
        "by": "jobs/workflow/approvals.py", "default": "jobs/workflow/approvals.py",
    },
    "OutputSpec": {
        "value": "jobs/workflow/produced.py", "file": "agent/tasks/results.py", "type": "jobs/outputs.py",
    },
    "Artifact": dict.fromkeys(("path", "name", "optional"), "agent/tasks/artifacts.py"),
    "Task": {
        "description": PEOPLE,
        **dict.fromkeys(("run", "shell", "steps", "uses", "with_"), "jobs/script.py"),
        **dict.fromkeys(
            ("job", "approval", "tasks", "sequence", "order", "needs", "matrix", "include", "for_each", "finally_",
             "on_failure", "on_success"), "jobs/plan.py",
        ),
        **dict.fromkeys(
            ("image", "pull", "entrypoint", "command", "env", "env_from", "user", "workdir", "mounts", "resources",
             "isolation", "network", "runtime", "constraints", "executor", "options", "stop", "artifacts",
             "timeout", "outputs"), "jobs/order.py",
        ),
        **dict.fromkeys(
            ("nodes", "share_nodes", "concurrency", "rate", "priority", "preemptible", "circuits"),
            "state/jobs/lanes.py",
        ),
        "if_": "jobs/workflow/beginning.py",
        **dict.fromkeys(("exclude", "max_parallel"), "jobs/workflow/fanout.py"),
        **dict.fromkeys(("fail_fast", "allow_failure"), "jobs/workflow/closing.py"),
        "retry": "jobs/workflow/retrying.py",
    },
    "Schedule": {
        "name": "state/jobs/schedules.py", "overlap": "state/jobs/firing.py", "inputs": "state/jobs/firing.py",
        "paused": "state/jobs/schedules.py",
        **dict.fromkeys(
            ("cron", "every", "at", "timezone", "missed", "window", "jitter", "since", "until"), "jobs/schedule.py"
        ),
    },
    "Webhook": {
        "secret": "api/jobs/hooks.py", "key": "api/jobs/hooks.py",
        **dict.fromkeys(("name", "if_", "inputs"), "state/jobs/events.py"),
    },
    "EventTrigger": dict.fromkeys(("type", "if_", "inputs"), "state/jobs/events.py"),
    "FileTrigger": {
        **dict.fromkeys(("path", "volume", "node"), "agent/triggers/files.py"), "settle": "agent/triggers/watch.py",
        **dict.fromkeys(("if_", "inputs"), "state/jobs/events.py"),
    },
    "JobTrigger": dict.fromkeys(("name", "states", "if_", "inputs"), "state/jobs/events.py"),
    "AppTrigger": dict.fromkeys(("name", "events", "if_", "inputs"), "state/jobs/events.py"),
    "Triggers": {
        "schedule": "state/jobs/schedules.py", "webhook": "api/jobs/hooks.py", "file": "agent/triggers/files.py",
        **dict.fromkeys(("event", "job", "app"), "state/jobs/triggers.py"),
    },
    "Notify": {
        "on": "state/jobs/notices.py", "webhook": "agent/notices/webhook.py",
        "signed_with": "agent/notices/webhook.py", "slack": "agent/notices/slack.py",
        **dict.fromkeys(("email", "smtp", "sender"), "agent/notices/smtp.py"),
    },
    "Keep": dict.fromkeys(("runs", "age"), "state/jobs/keeping.py"),
    "JobSpec": {
        "description": PEOPLE, "inputs": "state/jobs/inputs.py", "triggers": "state/jobs/triggers.py",
        "priority": "state/jobs/runs.py", "concurrency": "state/jobs/runs.py", "env": "jobs/order.py",
        "routines": "jobs/order.py", "circuits": "state/jobs/circuits.py", "deadline": "jobs/workflow/timing.py",
        "notify": "state/jobs/notices.py", "keep": "state/jobs/keeping.py",
        **dict.fromkeys(
            ("outputs", "tasks", "sequence", "order", "finally_", "on_failure", "on_success", "fail_fast", "timeout"),
            "jobs/plan.py",
        ),
    },
    "JobManifest": dict.fromkeys(("name", "labels", "spec"), "state/jobs/definitions.py"),
}  # fmt: skip


def specs() -> dict[str, type[Spec]]:
    """What people write of jobs."""
    found = inspect.getmembers(job, lambda each: inspect.isclass(each) and each.__module__ == job.__name__)
    return {
        name: each
        for name, each in found
        if issubclass(each, Spec) and not issubclass(each, Record | Document)
    }


def test_every_kind_is_here() -> None:
    assert READ.keys() == specs().keys()


@pytest.mark.parametrize("kind", sorted(READ))
def test_every_field_is_read_where_it_says(kind: str) -> None:
    fields = {field.name for field in msgspec.structs.fields(specs()[kind])}
    assert READ[kind].keys() == fields
    assert {name for name, file in READ[kind].items() if file and name not in read_in(file)} == set()


@cache
def read_in(file: str) -> frozenset[str]:
    """Names of the attributes that it reads."""
    tree = ast.parse((SOURCE / file).read_text())
    return frozenset(
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    )
