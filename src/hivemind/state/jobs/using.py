"""What the newest definitions of jobs use: volumes, configs, secrets. Looked for when such a thing is to go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hivemind.model.content import Reference
from hivemind.model.job import Job, JobSpec, Task
from hivemind.model.mount import ConfigMount, SecretMount, VolumeMount

if TYPE_CHECKING:
    from hivemind.state.state import State


def tasks_of(spec: JobSpec | Task) -> Iterator[Task]:
    """All in it, groups and hooks included."""
    for group in (spec.tasks, spec.finally_, spec.on_failure, spec.on_success):
        for task in group.values():
            yield task
            yield from tasks_of(task)


def references(spec: JobSpec) -> Iterator[Reference]:
    """Configs and secrets that it takes anything from."""
    for task in tasks_of(spec):
        for mount in task.mounts:
            if isinstance(mount, ConfigMount):
                yield Reference("config", mount.source, mount.key or "")
            elif isinstance(mount, SecretMount):
                yield Reference("secret", mount.source, mount.key or "")
        for source in task.env_from:
            if source.config:
                yield Reference("config", source.config, source.key or "")
            elif source.secret:
                yield Reference("secret", source.secret, source.key or "")
    for hook in spec.triggers.webhook:
        yield Reference("secret", hook.secret, hook.key)


def jobs_mounting(state: State, project: str, volumes: set[str]) -> list[str]:
    """Names of the jobs that mount one of these, or watch it for files."""
    found = []
    for job, spec in _newest(state, project):
        mounted = {m.source for t in tasks_of(spec) for m in t.mounts if isinstance(m, VolumeMount)}
        watched = {each.volume for each in spec.triggers.file if each.volume}
        if volumes & (mounted | watched):
            found.append(job.name)
    return sorted(found)


def jobs_of(state: State, kind: str, project: str, name: str) -> list[str]:
    """Names of the jobs that use that config or secret."""
    return sorted({job for job, _ in _uses(state, kind, project, name)})


def keys_used(state: State, kind: str, project: str, name: str) -> list[tuple[str, str]]:
    """Which jobs name which keys of it."""
    return sorted({(job, key) for job, key in _uses(state, kind, project, name) if key})


def _uses(state: State, kind: str, project: str, name: str) -> Iterator[tuple[str, str]]:
    for job, spec in _newest(state, project):
        for reference in references(spec):
            if (reference.kind, reference.name) == (kind, name):
                yield job.name, reference.key


def _newest(state: State, project: str) -> Iterator[tuple[Job, JobSpec]]:
    for job in state.jobs.values():
        if job.project == project:
            yield job, state.job_spec(job)
