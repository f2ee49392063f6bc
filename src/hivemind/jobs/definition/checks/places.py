"""Where a task is run: image or process, executor, gang, mounts, isolation; circuits and retries that are named."""

from __future__ import annotations

from hivemind.errors import Invalid
from hivemind.jobs import failures
from hivemind.jobs.definition.checks.spots import Group, Spot, spots
from hivemind.jobs.definition.finding import Findings, did_you_mean
from hivemind.model.isolation import check_isolation
from hivemind.model.job import JobSpec
from hivemind.model.mount import VolumeMount, check_mounts

EXECUTORS = ("hive", "slurm", "dask", "ray")


def check(group: Group, findings: Findings) -> None:
    for spot in spots(group):
        _runtime(spot, findings)
        _gang(spot, findings)
        _texts(spot, findings)
        for number, word in enumerate(spot.task.retry.on):
            try:
                failures.check(word)
            except Invalid as error:
                findings.add_error((*spot.path, "retry", "on", number), error)


def check_circuits(spec: JobSpec, findings: Findings) -> None:
    for name, circuit in spec.circuits.items():
        for number, word in enumerate(circuit.on):
            try:
                failures.check(word)
            except Invalid as error:
                findings.add_error(("spec", "circuits", name, "on", number), error)


def _runtime(spot: Spot, findings: Findings) -> None:
    task = spot.task
    if not task.image and task.runtime not in ("auto", "process", "fake"):
        findings.add(
            (*spot.path, "runtime"), f"the runtime {task.runtime} runs images, and {spot.id} names none",
            "give it an image, or leave out the runtime",
        )  # fmt: skip
    if task.image and task.runtime == "process":
        findings.add(
            (*spot.path, "runtime"), "the process runtime runs plain commands, not images",
            "leave out the image, or the runtime",
        )  # fmt: skip
    if task.executor not in EXECUTORS:
        findings.add(
            (*spot.path, "executor"), f"there is no executor '{task.executor}'",
            did_you_mean(task.executor, EXECUTORS),
        )  # fmt: skip
    if task.options and task.executor == "hive":
        findings.add(
            (*spot.path, "options"), "the executor hive has no options", "name an executor, or leave them out",
            key=True,
        )  # fmt: skip


def _gang(spot: Spot, findings: Findings) -> None:
    task = spot.task
    if task.share_nodes and task.nodes == 1:
        findings.add(
            (*spot.path, "share_nodes"), "'share_nodes' means nothing for a single one",
            "give the number of members, as nodes: 3", key=True,
        )  # fmt: skip
    if task.nodes > 1 and task.image == "" and task.executor in ("dask", "ray"):
        findings.add((*spot.path, "nodes"), f"the executor {task.executor} runs no gangs", "leave out nodes")


def _texts(spot: Spot, findings: Findings) -> None:
    task = spot.task
    try:
        check_mounts(task.mounts)
    except Invalid as error:
        findings.add_error((*spot.path, "mounts", len(task.mounts) - 1), error)
    for number, mount in enumerate(task.mounts):
        if isinstance(mount, VolumeMount) and mount.per_replica:
            findings.add(
                (*spot.path, "mounts", number), "a task has no replicas that could have volumes of their own",
                "leave out per_replica",
            )  # fmt: skip
    try:
        check_isolation(task.isolation, own_network=task.network.mode != "host")
    except Invalid as error:
        findings.add_error((*spot.path, "isolation"), error)
    if task.workdir is not None and not task.workdir.startswith("/"):
        findings.add((*spot.path, "workdir"), f"{task.workdir!r} is not an absolute path", "begin it with /")
    for number, source in enumerate(task.env_from):
        path = (*spot.path, "env_from", number)
        if (source.config is None) == (source.secret is None):
            findings.add(path, "a variable comes from one config or one secret", "name one of them")
        elif source.name and not source.key:
            findings.add(path, f"the variable {source.name} comes from no key", "name the key, too")
    words = (
        *(task.entrypoint or ()),
        *(task.command or ()),
        *task.env.values(),
        task.user or "",
        task.workdir or "",
    )
    if any("\0" in word for word in words):
        findings.add(spot.path, f"a text of the task {spot.id} holds a NUL byte", "pass it as a file")
    if task.entrypoint and any("${{" in word for word in task.entrypoint):
        findings.add(
            (*spot.path, "entrypoint"), "'entrypoint' is not a template", "write ${{ … }} in the command"
        )
