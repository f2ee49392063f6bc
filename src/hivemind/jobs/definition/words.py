"""Words of definitions: what the parts are called, which keys are understood besides the canonical ones, and what
keys of other programs mean here."""

from __future__ import annotations

from typing import Any

from hivemind.model import job as nouns
from hivemind.model.mount import BindMount, ConfigMount, ScratchMount, SecretMount, TmpfsMount, VolumeMount
from hivemind.model.template import EnvFrom, Resources, Stop

_NOUNS: dict[Any, str] = {
    nouns.JobManifest: "the definition",
    nouns.JobSpec: "the job",
    nouns.Task: "a task",
    nouns.Step: "a step",
    nouns.Routine: "a routine",
    nouns.Input: "an input",
    nouns.OutputSpec: "an output",
    nouns.Artifact: "an artifact",
    nouns.Triggers: "'triggers'",
    nouns.Schedule: "a schedule",
    nouns.Webhook: "a webhook",
    nouns.EventTrigger: "an event trigger",
    nouns.FileTrigger: "a file trigger",
    nouns.JobTrigger: "a job trigger",
    nouns.AppTrigger: "an app trigger",
    nouns.Notify: "a notification",
    nouns.Retry: "'retry'",
    nouns.Concurrency: "'concurrency'",
    nouns.Rate: "'rate'",
    nouns.Circuit: "a circuit",
    nouns.Approval: "an approval",
    nouns.Keep: "'keep'",
    Resources: "'resources'",
    Stop: "'stop'",
    EnvFrom: "an entry of env_from",
    VolumeMount: "a volume",
    BindMount: "a bind mount",
    TmpfsMount: "a tmpfs",
    ScratchMount: "a scratch mount",
    ConfigMount: "a config",
    SecretMount: "a secret",
}

TASK_SUGAR = (
    "when", "depends", "environment", "volumes", "secrets", "configs", "gpus", "cpus", "memory", "retries",
    "groups", "mode",
)  # fmt: skip
JOB_SUGAR = ("on", "environment", "groups", "mode")
_SUGAR: dict[Any, tuple[str, ...]] = {
    nouns.JobManifest: (),
    nouns.JobSpec: JOB_SUGAR,
    nouns.Task: TASK_SUGAR,
    nouns.Step: ("environment",),
    nouns.Routine: ("environment",),
    nouns.Schedule: ("tz",),
    Resources: ("nodes",),
}

_FOREIGN = {
    "depends_on": "write `needs`",
    "depends-on": "write `needs`",
    "dependencies": "write `needs`",
    "upstream": "write `needs`",
    "after": "write `needs`",
    "script": "write `run`",
    "commands": "write `steps`",
    "exec": "write `run`, or `command`",
    "bash": "write `run` and `shell: bash`",
    "container": "write `image`",
    "working_dir": "write `workdir`",
    "working-directory": "write `workdir`",
    "jobs": "write `tasks`",
    "stages": "write `groups`, or `needs`",
    "cron": "write it as triggers: {schedule: {cron: …}}",
    "schedule": "write it as triggers: {schedule: …}",
    "schedules": "write it as triggers: {schedule: …}",
    "webhook": "write it as triggers: {webhook: …}",
    "timezone": "write it beside the cron of a schedule",
    "schedule_interval": "write it as triggers: {schedule: {cron: …}}",
    "catchup": "write `missed: all`, `last` or `none` in the schedule",
    "concurrencyPolicy": "write `overlap` in the schedule",
    "concurrency_policy": "write `overlap` in the schedule",
    "continue-on-error": "write `allow_failure: true`",
    "continue_on_error": "write `allow_failure: true`",
    "timeout-minutes": "write it like timeout: 30m",
    "timeout_minutes": "write it like timeout: 30m",
    "strategy": "write `matrix`, `fail_fast` and `max_parallel` in the task itself",
    "parallelism": "write `max_parallel`",
    "runs-on": "write `constraints`",
    "node_selector": "write `constraints`",
    "nodeSelector": "write `constraints`",
    "params": "write `inputs`",
    "parameters": "write `inputs` for a job or routine, `with` for a call",
    "args": "write it into `command`",
    "always": "write it under `finally`",
    "loop": "write `for_each`",
    "foreach": "write `for_each`",
    "with_items": "write `for_each`",
    "gpu": "write `gpus`",
    "cpu": "write `cpus`",
    "mem": "write `memory`",
    "mem_limit": "write `memory`",
}
_PLACES: dict[Any, dict[str, str]] = {
    nouns.Triggers: {"cron": "write schedule: {cron: …}", "every": "write schedule: {every: …}",
                     "interval": "write schedule: {every: …}", "push": "let the host of the code call a `webhook`",
                     "pull_request": "let the host of the code call a `webhook`",
                     "workflow_dispatch": "leave it out: people may start every job"},
    nouns.Retry: {"attempts": "write `max`", "interval": "write `delay`", "limit": "write `max`"},
    nouns.Schedule: {"interval": "write `every`", "catchup": "write `missed`", "start": "write `since`",
                     "end": "write `until`", "time": "write `at`"},
    nouns.JobManifest: {"apiVersion": "this looks written for Kubernetes; see docs/job-definitions.md"},
}  # fmt: skip


_EXAMPLES: dict[Any, dict[str, str]] = {
    nouns.JobManifest: {"name": "write name: nightly"},
    nouns.JobSpec: {"tasks": "write tasks: {hello: {run: echo hello}}"},
    nouns.Webhook: {"secret": "the name of the project's secret with the key that callers sign with"},
    nouns.EventTrigger: {"type": "write type: order.paid"},
    nouns.FileTrigger: {"path": "write volume: inbox, path: '*.csv'"},
    nouns.JobTrigger: {"name": "the name of the other job"},
    nouns.AppTrigger: {"name": "the name of the app"},
    nouns.Artifact: {"path": "a path or pattern of files"},
    nouns.Rate: {"limit": "write rate: 10/s"},
    VolumeMount: {"source": "the name of the volume", "target": "where it appears, as /data"},
}


def example(type: Any, field: str) -> str:
    """How a missing key is written."""
    return _EXAMPLES.get(type, {}).get(field, f"add {field}")


def noun(type: Any) -> str:
    return _NOUNS.get(type, f"'{type.__name__.lower()}'")


def also_known(type: Any) -> tuple[str, ...]:
    """Keys that are understood besides the canonical ones."""
    return _SUGAR.get(type, ())


def elsewhere(key: Any, type: Any) -> str:
    """What a key that people know from other programs is called here."""
    if key in _PLACES.get(type, {}):
        return _PLACES[type][key]
    return _FOREIGN.get(key, "") if type in (nouns.Task, nouns.JobSpec, nouns.Step, nouns.Routine) else ""
