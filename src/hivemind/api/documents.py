"""The documents: what the API shows of each kind, made of what was agreed and what was observed."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TypeVar

import msgspec

from hivemind.api.appstatus import app_status
from hivemind.api.backend import Backend
from hivemind.model.allocation import Allocation, AllocationDocument, AllocationStatus
from hivemind.model.app import App, AppDocument
from hivemind.model.config import ConfigDocument
from hivemind.model.content import Bundle, Piece
from hivemind.model.deployment import Deployment, DeploymentDocument, DeploymentState
from hivemind.model.image import Image, ImageDocument, parse_reference
from hivemind.model.image_registry import ImageRegistry, RegistryDocument
from hivemind.model.node import ZONE, Node, NodeDocument, NodeStatus
from hivemind.model.principal import Principal, PrincipalDocument
from hivemind.model.project import Project, ProjectDocument
from hivemind.model.revision import Revision, RevisionDocument
from hivemind.model.secret import SecretDocument
from hivemind.state.pins import users
from hivemind.state.state import State, content_key, deployment_id, revision_key
from hivemind.store.said import said

S = TypeVar("S", bound=msgspec.Struct)


def observed(backend: Backend, key: str, type: type[S], by: str) -> S:
    """The latest observation under `key`, or a blank one. Only the word of the node `by` counts; empty: anybody's."""
    return said(backend.store.get(key), type, by) or type()


def app_document(backend: Backend, app: App) -> AppDocument:
    state = backend.state
    allocations = state.allocations_of(app.id)
    pairs = [(a, observed(backend, f"allocation/{a.id}", AllocationStatus, a.node)) for a in allocations]
    spec = state.revision(app.id, app.revision).spec
    return AppDocument(
        project=app.project,
        name=app.name,
        id=app.id,
        labels=app.labels,
        version=app.version,
        created=app.created,
        updated=app.updated,
        replicas=app.replicas,
        spec=spec,
        status=app_status(app, spec, pairs, _latest_deployment(backend, app)),
    )


def _latest_deployment(backend: Backend, app: App) -> Deployment | None:
    """Each revision is brought by a deployment whose id follows from it, so there is nothing to search."""
    return backend.state.deployments.get(deployment_id(app.id, app.latest))


def allocation_document(backend: Backend, allocation: Allocation) -> AllocationDocument:
    state = backend.state
    node = state.nodes.get(allocation.node)
    return AllocationDocument(
        project=allocation.project,
        name=allocation_name(state, allocation),
        id=allocation.id,
        app=allocation.app_name,
        revision=allocation.revision,
        slot=allocation.slot,
        attempt=allocation.attempt,
        node=node.name if node else "",
        desired=str(allocation.desired),
        state=allocation.state.name.lower(),
        image=state.spec_of(allocation).image,
        reason=allocation.reason,
        exit_code=allocation.exit_code,
        created=allocation.created,
        status=observed(backend, f"allocation/{allocation.id}", AllocationStatus, allocation.node),
    )


def allocation_name(state: State, allocation: Allocation) -> str:
    """`web.0`; of an attempt `nightly-7/train`, and of the second member of a gang `nightly-7/train.1`."""
    if not allocation.for_job:
        return f"{allocation.app_name}.{allocation.slot}"
    run = state.runs.get(allocation.run)
    rank = f".{allocation.slot}" if allocation.slot else ""
    return f"{run.name if run else allocation.run}/{allocation.path}{rank}"


def deployment_document(backend: Backend, deployment: Deployment) -> DeploymentDocument:
    state = backend.state
    revision = state.revisions.get(revision_key(deployment.app, deployment.target))
    waits = deployment.state is DeploymentState.RUNNING and state.apps[deployment.app].paused
    return DeploymentDocument(
        project=deployment.project,
        name=deployment.id,
        id=deployment.id,
        app=deployment.app_name,
        source=deployment.source,
        target=deployment.target,
        state="paused" if waits else str(deployment.state),
        reason=deployment.reason,
        cause=revision.cause if revision else "",
        done=deployment.done,
        total=deployment.total,
        by=revision.by if revision else "",
        started=deployment.started,
        ended=deployment.ended,
    )


def revision_document(backend: Backend, app: App, revision: Revision) -> RevisionDocument:
    deployment = backend.state.deployments.get(deployment_id(app.id, revision.number))
    return RevisionDocument(
        app=app.name,
        number=revision.number,
        cause=revision.cause,
        origin=revision.origin,
        by=revision.by,
        created=revision.created,
        spec=revision.spec,
        pins=revision.pins,
        state=str(deployment.state) if deployment else "",
        reason=deployment.reason if deployment else "",
        current=revision.number == app.revision,
        stable=revision.number == app.stable,
    )


def config_document(backend: Backend, bundle: Bundle) -> ConfigDocument:
    pieces = _pieces(backend, bundle)
    text = {key: piece for key, piece in pieces.items() if _is_text(piece.value)}
    return ConfigDocument(
        project=bundle.project,
        name=bundle.name,
        labels=bundle.labels,
        version=bundle.version,
        number=bundle.number,
        data={key: piece.value.decode() for key, piece in text.items()},
        binary={key: piece.value for key, piece in pieces.items() if key not in text},
        size=sum(len(piece.value) for piece in pieces.values()),
        used_by=_users_of(backend, bundle),
        created=bundle.created,
        updated=bundle.updated,
    )


def secret_document(backend: Backend, bundle: Bundle) -> SecretDocument:
    return SecretDocument(
        project=bundle.project,
        name=bundle.name,
        labels=bundle.labels,
        version=bundle.version,
        number=bundle.number,
        keys=tuple(sorted(_pieces(backend, bundle))),
        used_by=_users_of(backend, bundle),
        created=bundle.created,
        updated=bundle.updated,
    )


def _pieces(backend: Backend, bundle: Bundle) -> dict[str, Piece]:
    key = content_key(bundle.kind, bundle.project, bundle.name, bundle.number)
    return backend.state.contents[key].data


def _users_of(backend: Backend, bundle: Bundle) -> tuple[str, ...]:
    return tuple(app.name for app in users(backend.state, bundle.kind, bundle.project, bundle.name))


def _is_text(value: bytes) -> bool:
    try:
        return "\0" not in value.decode()
    except UnicodeDecodeError:
        return False


def node_document(backend: Backend, node: Node) -> NodeDocument:
    state = backend.state
    here = [a for a in state.allocations_on(node.id) if a.live]
    reserved = [state.spec_of(a).reserved for a in here]
    return NodeDocument(
        name=node.name,
        id=node.id,
        labels=node.labels,
        schedulable=node.schedulable,
        drained=node.drained,
        version=node.version,
        cpus=node.cpus,
        memory=node.memory,
        cpus_reserved=round(sum(r.cpus for r in reserved), 3),
        memory_reserved=sum(r.memory for r in reserved),
        gpus=node.gpus,
        gpus_reserved=sum(r.gpus for r in reserved),
        allocations=len(here),
        os=node.os,
        arch=node.arch,
        runtimes=node.runtimes,
        joined=node.joined,
        role=node.role,
        votes=node.id in state.voters,
        zone=node.labels.get(ZONE, ""),
        addresses=node.addresses,
        subnet=node.subnet,
        protocol=node.protocol,
        incarnation=node.incarnation,
        expected=node.expected,
        lost=node.lost,
        losses=node.losses,
        held_until=node.held_until,
        restarting=seconds_left(node.restarting),
        leaving=node.leaving,
        deadline=node.deadline,
        status=observed(backend, f"node/{node.id}", NodeStatus, node.id),
    )


def seconds_left(until: int) -> int:
    """Until that time in milliseconds, at least one; 0 for 0."""
    return max(-(-(until - time.time_ns() // 1_000_000) // 1000), 1) if until else 0


def project_document(backend: Backend, project: Project) -> ProjectDocument:
    apps = [app for app in backend.state.apps.values() if app.project == project.name and not app.deleted]
    return ProjectDocument(
        name=project.name,
        labels=project.labels,
        permissions=project.permissions,
        weight=project.weight,
        max_tasks=project.max_tasks,
        version=project.version,
        apps=len(apps),
        created=project.created,
    )


def principal_document(backend: Backend, principal: Principal) -> PrincipalDocument:
    return PrincipalDocument(
        name=principal.name,
        type="node" if principal.kind == "node" else "person",
        role="" if principal.kind == "node" else principal.role.name.lower(),
        key=principal.id,
        version=principal.version,
        created=principal.created,
    )


def registry_document(backend: Backend, registry: ImageRegistry) -> RegistryDocument:
    """Without the credential."""
    return RegistryDocument(
        name=registry.name,
        username=registry.username,
        signed_in=bool(registry.sealed),
        insecure=registry.insecure,
        ca=registry.ca,
        mirrors=registry.mirrors,
        version=registry.version,
        created=registry.created,
        updated=registry.updated,
    )


def image_document(backend: Backend, image: Image) -> ImageDocument:
    short = [parse_reference(name).familiar for name in image.names]
    return ImageDocument(
        name=short[0] if short else image.digest,
        id=image.digest,
        names=tuple(short),
        size=image.size,
        os=image.os,
        arch=image.arch,
        created=image.created,
        in_use=_users(backend, image),
    )


def _users(backend: Backend, image: Image) -> int:
    """How many live allocations run it."""
    state = backend.state
    mine = {*image.names, image.digest}
    return sum(1 for a in state.allocations.values() if a.live and _canonical(state.spec_of(a).image) in mine)


@lru_cache(1024)
def _canonical(written: str) -> str:
    return str(parse_reference(written)) if written else ""
