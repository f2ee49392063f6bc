"""Jobs written in Python: decorators that compile to the document that YAML gives, too.

    from hivemind.authoring import cron, job, task

    @task(image="python:3.12", retries=3, retry_delay="5s", timeout="30m")
    def train(day: str) -> str:
        import json
        return f"model-{day}"

    @job(schedule=cron("0 2 * * *", tz="Europe/Paris", missed="last"), priority="high")
    def nightly(days: list[str]):
        train.map(days)

The function of a job is run once, where it is validated or submitted, with placeholders for values: it describes the
graph. The bodies of tasks travel as source text and are run by `python3` where the task is placed; their arguments and
results are JSON. Nothing of a function but its source goes along: what it needs it imports itself.
"""

from hivemind.authoring.decorators import Routine, TaskFunction, job, routine, task
from hivemind.authoring.graph import Secret, Value
from hivemind.authoring.parts import approval, call_job, finally_, group, on_failure, on_success, sh
from hivemind.authoring.times import cron, every

__all__ = [
    "Routine",
    "Secret",
    "TaskFunction",
    "Value",
    "approval",
    "call_job",
    "cron",
    "every",
    "finally_",
    "group",
    "job",
    "on_failure",
    "on_success",
    "routine",
    "sh",
    "task",
]
