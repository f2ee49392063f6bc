"""What operations do to apps. They only say what is wanted; `reconcile` makes it so."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import Conflict, Invalid, NotFound
from hivemind.model.allocation import AllocationState
from hivemind.model.app import App, AppSpec
from hivemind.model.deployment import Deployment, DeploymentState
from hivemind.model.image import parse_reference
from hivemind.model.names import derive_id
from hivemind.model.principal import Principal
from hivemind.model.revision import Revision
from hivemind.scheduler.filters.constraints import parse_constraint
from hivemind.state.operations import DeleteApp, DeployApp, RestartApp, ScaleApp, StartApp, StopApp
from hivemind.state.projects import check_version
from hivemind.state.state import Outcome, State, revision_key

MAX_REPLICAS = 10_000


def deploy(state: State, operation: DeployApp, who: Principal) -> Outcome:
    manifest = operation.manifest
    if operation.project not in state.projects:
        raise NotFound(
            f"there is no project {operation.project!r}", hint=f"hivemind project create {operation.project}"
        )
    old = state.find_app(operation.project, manifest.name)
    if old and operation.create_only:
        raise Conflict(
            f"there is already an app {manifest.name!r}",
            hint="deploy it to change it, or choose another name",
        )
    check_version(operation.if_version, old.version if old else 0)
    _validate(state, manifest.spec, old)
    if old is None:
        return _create(state, operation, who)
    changed = state.revision(old.id, old.revision).spec != manifest.spec
    new = replace(old, replicas=manifest.replicas, labels=manifest.labels)
    if changed:
        return _revise(state, old, replace(new, stopped=False), manifest.spec, "deploy", who)
    return _save(state, old, new)


def _validate(state: State, spec: AppSpec, own: App | None) -> None:
    spec.validate()
    if spec.image:
        parse_reference(spec.image)
    for text in spec.constraints:
        parse_constraint(text)
    ports = {f"{p.host}/{p.protocol}" for p in spec.ports if p.host}
    for other in state.apps.values():
        if other.deleted or (own and other.id == own.id):
            continue
        theirs = state.revision(other.id, other.revision).spec
        taken = sorted(ports & {f"{p.host}/{p.protocol}" for p in theirs.ports if p.host})
        if taken:
            raise Conflict(
                f"port {taken[0]} is already published by app {other.name!r} (project {other.project})",
                hint="publish another host port, or remove that app",
            )
        if spec.service and spec.service == theirs.service and (own is None or other.project == own.project):
            raise Conflict(
                f"the service name {spec.service!r} belongs to app {other.name!r} (project {other.project})",
                hint="choose another --service name",
            )


def _create(state: State, operation: DeployApp, who: Principal) -> Outcome:
    manifest = operation.manifest
    app = App(
        id=derive_id("app", state.hive, operation.project, manifest.name, state.sequence),
        project=operation.project,
        name=manifest.name,
        labels=manifest.labels,
        replicas=manifest.replicas,
        revision=0,
        latest=0,
        version=0,
        created=state.time,
        updated=state.time,
    )
    return _revise(state, app, app, manifest.spec, "deploy", who)


def _revise(state: State, old: App, new: App, spec: AppSpec, cause: str, who: Principal) -> Outcome:
    """A new revision, and the deployment that leads to it."""
    number = old.latest + 1
    revision = Revision(
        app=old.id,
        number=number,
        spec=spec,
        cause="restart" if cause == "restart" else "deploy",
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
        id=derive_id("deployment", old.id, number),
        project=old.project,
        app=old.id,
        app_name=old.name,
        source=old.revision,
        target=number,
        started=state.time,
    )
    state.tables.put(state.deployments, deployment.id, deployment)
    outcome = _save(state, old, replace(new, revision=number, latest=number))
    return replace(outcome, deployment=deployment.id)


def scale(state: State, operation: ScaleApp, who: Principal) -> Outcome:
    old = _find(state, operation.project, operation.name)
    if not 0 <= operation.replicas <= MAX_REPLICAS:
        raise Invalid(f"{operation.replicas} replicas are not possible", hint=f"choose 0 to {MAX_REPLICAS}")
    return _save(state, old, replace(old, replicas=operation.replicas))


def restart(state: State, operation: RestartApp, who: Principal) -> Outcome:
    old = _find(state, operation.project, operation.name)
    spec = state.revision(old.id, old.revision).spec
    return _revise(state, old, replace(old, stopped=False), spec, "restart", who)


def stop(state: State, operation: StopApp, who: Principal) -> Outcome:
    old = _find(state, operation.project, operation.name)
    return _save(state, old, replace(old, stopped=True))


def start(state: State, operation: StartApp, who: Principal) -> Outcome:
    """What ended by itself starts again, which takes a new revision: an allocation is one-shot. So does what
    was stopped before it ever got healthy: only a deployment gives up on a bad revision."""
    old = _find(state, operation.project, operation.name)
    over = (AllocationState.COMPLETE, AllocationState.FAILED)
    newest = {a.slot: a for a in state.allocations_of(old.id) if a.revision == old.revision}
    unproved = old.stopped and old.stable != old.revision
    if unproved or any(a.state in over for a in newest.values()):
        spec = state.revision(old.id, old.revision).spec
        return _revise(state, old, replace(old, stopped=False), spec, "restart", who)
    return _save(state, old, replace(old, stopped=False))


def delete(state: State, operation: DeleteApp, who: Principal) -> Outcome:
    old = _find(state, operation.project, operation.name)
    check_version(operation.if_version, old.version)
    return _save(state, old, replace(old, deleted=True))


def _find(state: State, project: str, name: str) -> App:
    app = state.find_app(project, name)
    if app is None:
        raise NotFound(f"there is no app {name!r} in project {project!r}", hint="hivemind app ls shows them")
    return app


def _save(state: State, old: App, new: App) -> Outcome:
    if new != old:
        new = replace(new, version=old.version + 1, updated=state.time)
        state.tables.put(state.apps, new.id, new)
        state.dirty.add(new.id)
    return Outcome(id=new.id, version=new.version)
