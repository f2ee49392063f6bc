"""Jobs: how they come to be, change and go. Each change of what a job is makes a new definition; runs keep theirs."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import Conflict
from hivemind.jobs.calls import Calls
from hivemind.jobs.library import resolve
from hivemind.model.job import Definition, Job, JobSpec
from hivemind.model.names import derive_id
from hivemind.model.principal import Principal
from hivemind.state.jobs import circuits
from hivemind.state.jobs.book import workflow
from hivemind.state.jobs.keeping import trim
from hivemind.state.jobs.routines import library
from hivemind.state.jobs.runs import find_job
from hivemind.state.jobs.schedules import schedules
from hivemind.state.jobs.using import tasks_of
from hivemind.state.operations import DeleteJob, PutJob
from hivemind.state.projects import check_version, known
from hivemind.state.state import Outcome, State, definition_key


def put(state: State, operation: PutJob, who: Principal) -> Outcome:
    """Calls of library routines that name no version mean the newest of now: it is written into the definition, so
    that whoever improves a routine changes no job behind its owner's back. To take it, put the job again."""
    from hivemind.state.jobs.admission import admit  # all that reads definitions, which few daemons ever do

    manifest, project = operation.manifest, known(state, operation.project)
    old = state.find_job(project, manifest.name)
    if old and operation.create_only:
        raise Conflict(
            f"there is already a job {manifest.name!r}", hint="put it to change it, or choose another name"
        )
    check_version(operation.if_version, old.version if old else 0)
    admit(state, project, manifest.spec)
    spec = resolve(manifest.spec, library(state, project))
    Calls(spec.routines).check(tasks_of(spec))
    if old is None:
        job = _new(state, project, operation)
    elif state.job_spec(old) == spec:
        return save(state, old, replace(old, labels=manifest.labels))
    else:
        job = replace(old, labels=manifest.labels, number=old.number + 1)
    _define(state, job, spec, who)
    before = state.job_spec(old) if old else None
    outcome = save(state, old, replace(job, seen=_seen(state, job, spec, before)))
    if old:
        trim(state, old.id, old.number)
    return outcome


def _new(state: State, project: str, operation: PutJob) -> Job:
    return Job(
        id=derive_id("job", state.hive, project, operation.manifest.name, state.sequence, len(state.changes)),
        project=project,
        name=operation.manifest.name,
        labels=operation.manifest.labels,
        number=1,
        version=0,
        created=state.time,
        updated=state.time,
    )


def _define(state: State, job: Job, spec: JobSpec, who: Principal) -> None:
    definition = Definition(job=job.id, number=job.number, spec=spec, by=who.name, created=state.time)
    state.tables.put(state.definitions, definition_key(job.id, job.number), definition)
    circuits.declare(state, job.project, spec)


def save(state: State, old: Job | None, new: Job) -> Outcome:
    if new != old:
        new = replace(new, version=new.version + 1, updated=state.time)
        state.tables.put(state.jobs, new.id, new)
    return Outcome(id=new.id, version=new.version)


def _seen(state: State, job: Job, spec: JobSpec, before: JobSpec | None) -> dict[str, int]:
    """A schedule that is new, or means other times, begins now; one that stays goes on where it was."""
    times = dict(schedules(before)) if before else {}
    return {
        name: job.seen.get(name, state.time)
        if name in times and _moments(times[name]) == _moments(schedule)
        else state.time
        for name, schedule in schedules(spec)
    }


def _moments(schedule: object) -> tuple[object, ...]:
    names = ("cron", "every", "at", "timezone", "since", "until", "paused")
    return tuple(getattr(schedule, name) for name in names)


def delete(state: State, operation: DeleteJob, who: Principal) -> Outcome:
    """Its runs, and what they tell, stay as long as they would have been kept."""
    old = find_job(state, operation.project, operation.name)
    check_version(operation.if_version, old.version)
    for id in state.work.live_runs(old.id):
        if not state.runs[id].state.ended:
            workflow(state, id).cancel("the job was removed", who.name)
    state.tables.remove(state.jobs, old.id)
    trim(state, old.id, old.number)
    return Outcome(id=old.id)
