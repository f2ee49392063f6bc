"""The order: everything that a node needs to run one attempt of a task. Pure: spec, task and scope in, order out.

Values reach commands in variables only. What a task's own commands find in their environment:

HIVEMIND_RUN, HIVEMIND_RUN_ID   name and id of the run
HIVEMIND_JOB, HIVEMIND_PROJECT  whose run it is
HIVEMIND_TASK                   the task's path in the run, such as `ml.train` or `build[2]`
HIVEMIND_ATTEMPT                the fencing number of this attempt
HIVEMIND_DUE                    when the run was due, in milliseconds since 1970
HIVEMIND_RANK, HIVEMIND_SIZE    of a gang: which member this is, and how many there are
HIVEMIND_OUTPUT                 the file that outputs are written to, as `name=value` lines (set by the node)
HIVEMIND_STEPS                  a private directory, empty at first (set by the node)

Inputs, matrix values and items are in no variable but those that `env` or `with` makes of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hivemind.errors import Invalid
from hivemind.jobs.expression import Sealed, render
from hivemind.jobs.script import script_of
from hivemind.jobs.variables import Variables
from hivemind.model.app import AppSpec, Restart
from hivemind.model.job import Artifact, JobSpec, OutputSpec, Task
from hivemind.model.template import Resources

OUTPUT = "HIVEMIND_OUTPUT"
STEPS = "HIVEMIND_STEPS"
STATUS = "status"
"""Of `$HIVEMIND_STEPS`: the file that says how far the steps are, as lines `begin N` and `end N CODE`."""
_HOOKS = {"finally": "finally_", "on_failure": "on_failure", "on_success": "on_success"}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt, ready to be run. The node adds what only it knows: `HIVEMIND_OUTPUT`, `HIVEMIND_STEPS`, devices,
    addresses, and the values of `sealed`, opened."""

    template: AppSpec
    """Image, command, variables, mounts, resources and so on; never restarted, no health check."""
    sealed: dict[str, Sealed] = {}
    """Further variables, whose values only the node opens."""
    steps: tuple[str, ...] = ()
    """What the numbers in the status file mean: the label of step 1 first. Empty for plain commands."""
    outputs: dict[str, OutputSpec] = {}
    artifacts: tuple[Artifact, ...] = ()
    timeout: float = 0.0
    """Seconds; 0: none."""
    executor: str = "hive"
    options: dict[str, Any] = {}
    size: int = 1
    """Members of its gang."""


def spec_of(task: Task, image: str = "") -> AppSpec:
    """What the scheduler and the agent need to know of an attempt's place, with `image` rendered already. What an
    engine runs takes nothing of the node that hands it over."""
    runtime = "process" if task.runtime == "auto" and not image else task.runtime
    return AppSpec(
        image=image,
        pull=task.pull,
        env_from=task.env_from,
        user=task.user,
        workdir=task.workdir,
        mounts=task.mounts,
        resources=task.resources if task.executor == "hive" else Resources(),
        isolation=task.isolation,
        healthcheck="none",
        stop=task.stop,
        runtime=runtime,
        network=task.network,
        restart=Restart(policy="no"),
        constraints=task.constraints,
    )


def image_of(task: Task, scope: Mapping[str, Any]) -> str:
    """Raises `Invalid` when its expressions fail."""
    if "${{" not in task.image:
        return task.image
    image = render(task.image, scope)
    if not isinstance(image, str) or not image:
        raise Invalid(f"the image {task.image} is not text but {_shown(image)}")
    return image


def order(
    spec: JobSpec,
    path: str,
    task: Task,
    scope: Mapping[str, Any],
    *,
    attempt: int,
    rank: int = 0,
) -> Order:
    """The order for attempt number `attempt` of `task`, which stands at `path` of the run that `scope` is about.

    `spec.routines` holds every routine that it calls (`jobs.library.resolve`). Raises `Invalid` when an expression
    fails, or a value cannot be a variable: the attempt then ends with cause `start`."""
    variables = Variables()
    for templates in (*_inherited(spec, path), task.env):
        for name, text in templates.items():
            variables.put(name, render(text, scope))
    script = script_of(spec.routines, task, scope, variables)
    standard = _standard(scope, path, task, attempt, rank)
    template = msgspec.structs.replace(
        spec_of(task, image_of(task, scope)),
        resources=task.resources,
        entrypoint=script.argv if script.argv else task.entrypoint,
        command=() if script.argv else _command(task, scope),
        env={**variables.plain, **standard},
    )
    return Order(
        template=template,
        sealed={name: value for name, value in variables.sealed.items() if name not in standard},
        steps=script.labels,
        outputs=task.outputs,
        artifacts=task.artifacts,
        timeout=task.timeout,
        executor=task.executor,
        options={name: render(value, scope) for name, value in task.options.items()},
        size=task.nodes,
    )


def _command(task: Task, scope: Mapping[str, Any]) -> tuple[str, ...] | None:
    if task.command is None:
        return None
    words = []
    for template in task.command:
        probe = Variables()
        probe.put("an argument", render(template, scope))
        if probe.sealed:
            raise Invalid(
                "a secret cannot be an argument: every process of the node could read it there",
                hint="pass it as a variable, with `env`",
            )
        words.append(probe.plain["an argument"])
    return tuple(words)


def _standard(scope: Mapping[str, Any], path: str, task: Task, attempt: int, rank: int) -> dict[str, str]:
    run = scope.get("run", {})
    found = {
        "HIVEMIND_RUN": str(run.get("name", "")),
        "HIVEMIND_RUN_ID": str(run.get("id", "")),
        "HIVEMIND_JOB": str(run.get("job", "")),
        "HIVEMIND_PROJECT": str(run.get("project", "")),
        "HIVEMIND_DUE": str(run.get("due", "")),
        "HIVEMIND_TASK": path,
        "HIVEMIND_ATTEMPT": str(attempt),
    }
    if task.nodes > 1:
        found |= {"HIVEMIND_RANK": str(rank), "HIVEMIND_SIZE": str(task.nodes)}
    return found


def _inherited(spec: JobSpec, path: str) -> list[Mapping[str, str]]:
    """Variables that the job and the groups around `path` give to all in them, the outermost first."""
    found: list[Mapping[str, str]] = [spec.env]
    place: JobSpec | Task = spec
    steps = [step.partition("[")[0] for step in path.split(".")]
    tasks: Mapping[str, Task] = spec.tasks
    for step in steps[:-1]:
        if step in _HOOKS:
            tasks = getattr(place, _HOOKS[step])
            continue
        place = tasks[step]
        tasks = place.tasks
        found.append(place.env)
    return found


def _shown(value: Any) -> str:
    return "nothing" if value in (None, "") else type(value).__name__
