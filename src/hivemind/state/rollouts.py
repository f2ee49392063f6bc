"""From one revision of an app to the next: revise, restart, roll back, pause, resume."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import Conflict, NotFound
from hivemind.model.app import App, AppSpec
from hivemind.model.deployment import Deployment, DeploymentState
from hivemind.model.principal import Principal
from hivemind.model.revision import Cause, Revision
from hivemind.state import pins
from hivemind.state.admission import admit
from hivemind.state.operations import PauseApp, RestartApp, ResumeApp, RollbackApp
from hivemind.state.state import Outcome, State, deployment_id, revision_key


def find(state: State, project: str, name: str) -> App:
    app = state.find_app(project, name)
    if app is None:
        raise NotFound(f"there is no app {name!r} in project {project!r}", hint="hivemind app ls shows them")
    return app


def save(state: State, old: App, new: App) -> Outcome:
    if new != old:
        new = replace(new, version=old.version + 1, updated=state.time)
        state.tables.put(state.apps, new.id, new)
        state.dirty.add(new.id)
    return Outcome(id=new.id, version=new.version)


def revise(
    state: State,
    old: App,
    new: App,
    spec: AppSpec,
    pinned: dict[str, int],
    who: Principal,
    *,
    cause: Cause,
    origin: int = 0,
) -> Outcome:
    """A new revision, and the deployment that leads to it."""
    number = old.latest + 1
    revision = Revision(
        app=old.id,
        number=number,
        spec=spec,
        cause=cause,
        origin=origin,
        pins=pinned,
        created=state.time,
        by=who.name,
    )
    state.tables.put(state.revisions, revision_key(old.id, number), revision)
    running = state.running_deployment(old.id)
    if running:
        ended = replace(
            running, state=DeploymentState.SUPERSEDED, reason=f"by revision {number}", ended=state.time
        )
        state.tables.put(state.deployments, ended.id, ended)
    deployment = Deployment(
        id=deployment_id(old.id, number),
        project=old.project,
        app=old.id,
        app_name=old.name,
        source=old.revision,
        target=number,
        total=new.replicas,
        progressed=state.time,
        started=state.time,
    )
    state.tables.put(state.deployments, deployment.id, deployment)
    outcome = save(state, old, replace(new, revision=number, latest=number))
    return replace(outcome, deployment=deployment.id)


def again(state: State, old: App, who: Principal) -> Outcome:
    """A new revision of the same spec with the newest contents, and it runs."""
    revision = state.revision(old.id, old.revision)
    fresh = pins.newest(state, old.project, revision.spec, revision.pins)
    return revise(state, old, replace(old, stopped=False), revision.spec, fresh, who, cause="restart")


def restart(state: State, operation: RestartApp, who: Principal) -> Outcome:
    old = find(state, operation.project, operation.name)
    _refuse_paused(old, "restarted")
    return again(state, old, who)


def rollback(state: State, operation: RollbackApp, who: Principal) -> Outcome:
    """Back to what is wanted already changes nothing, as with `kubectl rollout undo`."""
    old = find(state, operation.project, operation.name)
    _refuse_paused(old, "rolled back")
    target = _named(state, old, operation.to) if operation.to else _last_good(state, old)
    if _alike(target, state.revision(old.id, old.revision)):
        return save(state, old, replace(old, stopped=False))
    admit(state, old.project, old.name, target.spec, old)
    wanted = replace(old, stopped=False)
    return revise(state, old, wanted, target.spec, target.pins, who, cause="rollback", origin=target.number)


def _named(state: State, app: App, number: int) -> Revision:
    found = state.revisions.get(revision_key(app.id, number))
    if found is None:
        kept = ", ".join(str(r.number) for r in state.revisions_of(app))
        raise NotFound(
            f"app {app.name!r} has no revision {number}; it has {kept}",
            hint=f"hivemind app history {app.name} shows them",
        )
    return found


def _last_good(state: State, app: App) -> Revision:
    current = state.revision(app.id, app.revision)
    for revision in reversed(state.revisions_of(app)):
        if revision.number < app.revision and not _alike(revision, current) and _good(state, revision):
            return revision
    raise Conflict(
        f"app {app.name!r} has no earlier revision that was healthy",
        hint=f"hivemind app history {app.name} shows all; choose one with --to N",
    )


def _alike(one: Revision, other: Revision) -> bool:
    return one.spec == other.spec and one.pins == other.pins


def _good(state: State, revision: Revision) -> bool:
    deployment = state.deployments.get(deployment_id(revision.app, revision.number))
    return deployment is not None and deployment.state is DeploymentState.SUCCEEDED


def pause(state: State, operation: PauseApp, who: Principal) -> Outcome:
    old = find(state, operation.project, operation.name)
    if old.paused:
        raise Conflict(f"app {old.name!r} is paused already", hint=f"hivemind rollout resume {old.name}")
    return save(state, old, replace(old, paused=True))


def resume(state: State, operation: ResumeApp, who: Principal) -> Outcome:
    """What was waited for while it was paused was not its fault: every deadline begins anew."""
    old = find(state, operation.project, operation.name)
    if not old.paused:
        raise Conflict(f"app {old.name!r} is not paused")
    running = state.running_deployment(old.id)
    if running:
        on = replace(running, resumed=state.time, progressed=state.time)
        state.tables.put(state.deployments, on.id, on)
    outcome = save(state, old, replace(old, paused=False))
    return replace(outcome, deployment=running.id if running else "")


def _refuse_paused(app: App, done: str) -> None:
    if app.paused:
        raise Conflict(
            f"app {app.name!r} is paused and cannot be {done}",
            hint=f"first: hivemind rollout resume {app.name}",
        )
