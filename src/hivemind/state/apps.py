"""What operations do to apps. They only say what is wanted; `reconcile` makes it so."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import Conflict, Invalid
from hivemind.model.allocation import AllocationState
from hivemind.model.app import App
from hivemind.model.names import derive_id
from hivemind.model.principal import Principal
from hivemind.state.admission import admit
from hivemind.state.operations import DeleteApp, DeployApp, ScaleApp, StartApp, StopApp
from hivemind.state.pins import pins
from hivemind.state.projects import check_version, known
from hivemind.state.rollouts import again, find, revise, save
from hivemind.state.state import Outcome, State

MAX_REPLICAS = 10_000


def deploy(state: State, operation: DeployApp, who: Principal) -> Outcome:
    manifest = operation.manifest
    known(state, operation.project)
    old = state.find_app(operation.project, manifest.name)
    if old and operation.create_only:
        raise Conflict(
            f"there is already an app {manifest.name!r}",
            hint="deploy it to change it, or choose another name",
        )
    check_version(operation.if_version, old.version if old else 0)
    admit(state, operation.project, manifest.name, manifest.spec, old)
    if old is None:
        return _create(state, operation, who)
    new = replace(old, replicas=manifest.replicas, labels=manifest.labels)
    if state.revision(old.id, old.revision).spec == manifest.spec:
        return save(state, old, new)
    used = pins(state, operation.project, manifest.spec)
    return revise(state, old, replace(new, stopped=False), manifest.spec, used, who, cause="deploy")


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
    used = pins(state, operation.project, manifest.spec)
    return revise(state, app, app, manifest.spec, used, who, cause="deploy")


def scale(state: State, operation: ScaleApp, who: Principal) -> Outcome:
    old = find(state, operation.project, operation.name)
    if not 0 <= operation.replicas <= MAX_REPLICAS:
        raise Invalid(f"{operation.replicas} replicas are not possible", hint=f"choose 0 to {MAX_REPLICAS}")
    return save(state, old, replace(old, replicas=operation.replicas))


def stop(state: State, operation: StopApp, who: Principal) -> Outcome:
    old = find(state, operation.project, operation.name)
    return save(state, old, replace(old, stopped=True))


def start(state: State, operation: StartApp, who: Principal) -> Outcome:
    """What ended by itself starts again, which takes a new revision: an allocation is one-shot. So does what
    was stopped before it ever got healthy: only a deployment gives up on a bad revision."""
    old = find(state, operation.project, operation.name)
    over = (AllocationState.COMPLETE, AllocationState.FAILED)
    newest = {a.slot: a for a in state.allocations_of(old.id) if a.revision == old.revision}
    unproved = old.stopped and old.stable != old.revision
    if unproved or any(a.state in over for a in newest.values()):
        return again(state, old, who)
    return save(state, old, replace(old, stopped=False))


def delete(state: State, operation: DeleteApp, who: Principal) -> Outcome:
    old = find(state, operation.project, operation.name)
    check_version(operation.if_version, old.version)
    return save(state, old, replace(old, deleted=True))
