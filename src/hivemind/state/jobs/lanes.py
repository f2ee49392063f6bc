"""In which lane a task waits: its limits with their keys computed, and what place it wants."""

from __future__ import annotations

from hivemind.errors import HivemindError
from hivemind.jobs.book import Book
from hivemind.jobs.context import scope
from hivemind.jobs.expression import render
from hivemind.jobs.order import image_of, spec_of
from hivemind.jobs.plan import Node, Plan
from hivemind.model.app import AppSpec
from hivemind.model.job import Concurrency, Rate
from hivemind.model.run import Run
from hivemind.model.volume import volume_mounts
from hivemind.state.jobs import circuits
from hivemind.state.jobs.lane import Lane
from hivemind.state.state import State

_KEY_LIMIT = 500


def priority_of(run: Run, node: Node) -> int:
    """Its own, that of the nearest group around it that has one, or the run's."""
    for each in (node, *node.around()):
        if each.task.priority is not None:
            return each.task.priority
    return run.priority


def lane_for(state: State, book: Book, node: Node, place: str) -> str:
    """As text. What cannot be computed is said in the lane itself: whoever stands there fails when its turn comes."""
    run = book.run
    needed = circuits.needed(state, run, place, node.task.circuits)
    fixed = not any("${{" in text for text in _templates(node))
    known = state.work.lanes.setdefault((run.job, run.definition), {})
    key = (node.path, priority_of(run, node), needed)
    if fixed and key in known:
        return known[key]
    try:
        found = _lane(book, node, place, needed).text()
    except HivemindError as error:
        return Lane(project=run.project, error=error.message, priority=key[1]).text()
    if fixed:
        known[key] = found
    return found


def _templates(node: Node) -> list[str]:
    task = node.task
    limits = (task.concurrency, task.rate)
    return [task.image, *(limit.key for limit in limits if limit)]


def _lane(book: Book, node: Node, place: str, needed: tuple[str, ...]) -> Lane:
    run, task = book.run, node.task
    known = scope(book, Plan.of(book.spec), place)
    image = image_of(task, known)
    spec = spec_of(task, image)
    limit, rate = task.concurrency, task.rate
    return Lane(
        project=run.project,
        key=_key(run, node, limit, known) if limit else "",
        limit=limit.limit if limit else 0,
        behavior=limit.behavior if limit else "queue",
        rate=_key(run, node, rate, known) if rate else "",
        starts=rate.limit if rate else 0,
        per=round(rate.per * 1000) if rate else 0,
        circuits=needed,
        priority=priority_of(run, node),
        preemptible=task.preemptible,
        cpus=spec.reserved.cpus,
        memory=spec.reserved.memory,
        gpus=spec.reserved.gpus,
        nodes=task.nodes if task.executor == "hive" else 1,  # otherwise the engine finds them
        share=task.share_nodes,
        constraints=spec.constraints,
        runtime=spec.runtime,
        image=image,
        executor=task.executor,
        volumes=volumes_of(spec),
    )


def _key(run: Run, node: Node, limit: Concurrency | Rate, known: object) -> str:
    """Without one of its own, the task's name stands for it."""
    if not limit.key:
        return f"{run.job_name}.{node.path}"
    return key_text(render(limit.key, known))  # type: ignore[arg-type]


def key_text(value: object) -> str:
    return str(value)[:_KEY_LIMIT] or "-"


def volumes_of(spec: AppSpec) -> tuple[str, ...]:
    return tuple(sorted({mount.source for mount in volume_mounts(spec)}))
