"""How each kind is found and shown: one `View` a kind, in one registry.

A view joins what the hive agreed (state) with what nodes observed (the store) into documents.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from hivemind.api.backend import Backend
from hivemind.api.documents import (
    allocation_document,
    app_document,
    config_document,
    deployment_document,
    image_document,
    node_document,
    principal_document,
    project_document,
    registry_document,
    secret_document,
)
from hivemind.api.jobs.documents import circuit_document, job_document, routine_document, run_document
from hivemind.api.jobs.lookup import find_run
from hivemind.api.volume_documents import (
    backup_target_document,
    backup_targets,
    snapshot_document,
    snapshots,
    storage_class_document,
    storage_classes,
    volume_document,
    volumes,
)
from hivemind.errors import Invalid, NotFound
from hivemind.model.allocation import Allocation
from hivemind.model.app import App
from hivemind.model.backup import BackupTarget
from hivemind.model.circuit import CircuitRecord
from hivemind.model.content import Bundle
from hivemind.model.deployment import Deployment
from hivemind.model.event import Event
from hivemind.model.image import Image, parse_reference
from hivemind.model.image_registry import ImageRegistry
from hivemind.model.job import Job
from hivemind.model.node import Node
from hivemind.model.principal import Principal
from hivemind.model.project import Project
from hivemind.model.registry import RESOURCES
from hivemind.model.routine import LibraryRoutine
from hivemind.model.run import Run
from hivemind.model.snapshot import Snapshot
from hivemind.model.storage import StorageClass
from hivemind.model.volume import Volume
from hivemind.store.events import told

R = TypeVar("R")

_PREFIX = 4
"""An id may be shortened to so many letters, if they fit one thing only."""


@dataclass(frozen=True)
class View(Generic[R]):
    select: Callable[[Backend], Awaitable[Iterable[R]]]
    """All records of the kind."""
    document: Callable[[Backend, R], msgspec.Struct]
    key: Callable[[R], tuple[str, ...]]
    """Unique, and what lists are sorted by."""
    names: Callable[[R], tuple[str, ...]]
    """What it answers to, besides a beginning of its id."""
    id: Callable[[R], str] = lambda record: ""
    lookup: Callable[[Backend, str], R | None] = lambda backend, id: None
    """The one of that whole id, where state has it at hand."""
    named: Callable[[Backend, str, str], R | None] = lambda backend, project, name: None
    """The one that a name of a project means, where that is at hand, too. Raises `NotFound`, `Invalid`."""
    project: Callable[[R], str] = lambda record: ""
    app: Callable[[R], str] = lambda record: ""
    labels: Callable[[R], Mapping[str, str]] = lambda record: {}


async def _apps(backend: Backend) -> list[App]:
    return [app for app in backend.state.apps.values() if not app.deleted]


async def _events(backend: Backend) -> list[Event]:
    return [event for entry in backend.store.range("event/") if (event := told(entry))]


async def _allocations(backend: Backend) -> Iterable[Allocation]:
    return backend.state.allocations.values()


async def _deployments(backend: Backend) -> Iterable[Deployment]:
    return backend.state.deployments.values()


async def _jobs(backend: Backend) -> Iterable[Job]:
    return backend.state.jobs.values()


async def _runs(backend: Backend) -> Iterable[Run]:
    return backend.state.runs.values()


async def _routines(backend: Backend) -> Iterable[LibraryRoutine]:
    return backend.state.routines.values()


async def _circuits(backend: Backend) -> Iterable[CircuitRecord]:
    return backend.state.circuits.values()


async def _configs(backend: Backend) -> Iterable[Bundle]:
    return [bundle for bundle in backend.state.bundles.values() if bundle.kind == "config"]


async def _secrets(backend: Backend) -> Iterable[Bundle]:
    return [bundle for bundle in backend.state.bundles.values() if bundle.kind == "secret"]


async def _nodes(backend: Backend) -> Iterable[Node]:
    return backend.state.nodes.values()


async def _projects(backend: Backend) -> Iterable[Project]:
    return backend.state.projects.values()


async def _principals(backend: Backend) -> Iterable[Principal]:
    return backend.state.principals.values()


async def _registries(backend: Backend) -> Iterable[ImageRegistry]:
    return backend.state.registries.values()


async def _images(backend: Backend) -> list[Image]:
    return backend.images.list()


def _image_names(image: Image) -> tuple[str, ...]:
    short = image.digest.removeprefix("sha256:")
    return (*image.names, image.digest, short, short[:12])


VIEWS: dict[str, View[Any]] = {
    "App": View[App](
        select=_apps,
        document=app_document,
        key=lambda a: (a.project, a.name),
        names=lambda a: (a.name,),
        id=lambda a: a.id,
        project=lambda a: a.project,
        app=lambda a: a.name,
        labels=lambda a: a.labels,
    ),
    "Allocation": View[Allocation](
        select=_allocations,
        document=allocation_document,
        key=lambda a: (a.project, a.app_name, a.run, a.path, f"{a.slot:06}", f"{a.attempt:09}", a.id),
        names=lambda a: (f"{a.app_name}.{a.slot}",) if a.live and not a.for_job else (),
        id=lambda a: a.id,
        lookup=lambda backend, id: backend.state.allocations.get(id),
        project=lambda a: a.project,
        app=lambda a: a.app_name,
    ),
    "Deployment": View[Deployment](
        select=_deployments,
        document=deployment_document,
        key=lambda d: (d.project, d.app_name, f"{d.started:015}", f"{d.target:09}", d.id),
        names=lambda d: (),
        id=lambda d: d.id,
        lookup=lambda backend, id: backend.state.deployments.get(id),
        project=lambda d: d.project,
        app=lambda d: d.app_name,
    ),
    "Job": View[Job](
        select=_jobs,
        document=job_document,
        key=lambda j: (j.project, j.name),
        names=lambda j: (j.name,),
        id=lambda j: j.id,
        lookup=lambda backend, id: backend.state.jobs.get(id),
        named=lambda backend, project, name: backend.state.find_job(project, name),
        project=lambda j: j.project,
        labels=lambda j: j.labels,
    ),
    "Run": View[Run](
        select=_runs,
        document=run_document,
        key=lambda r: (r.project, r.job_name, f"{r.number:09}", r.id),
        names=lambda r: (r.name,),
        id=lambda r: r.id,
        lookup=lambda backend, id: backend.state.runs.get(id),
        named=lambda backend, project, name: find_run(backend.state, project, name),
        project=lambda r: r.project,
    ),
    "Routine": View[LibraryRoutine](
        select=_routines,
        document=routine_document,
        key=lambda r: (r.project, r.name),
        names=lambda r: (r.name,),
        named=lambda backend, project, name: backend.state.routines.get(f"{project}/{name}"),
        project=lambda r: r.project,
        labels=lambda r: r.labels,
    ),
    "Circuit": View[CircuitRecord](
        select=_circuits,
        document=circuit_document,
        key=lambda c: (c.project, c.name),
        names=lambda c: (c.name,),
        named=lambda backend, project, name: backend.state.circuits.get(f"{project}/{name}"),
        project=lambda c: c.project,
    ),
    "Config": View[Bundle](
        select=_configs,
        document=config_document,
        key=lambda b: (b.project, b.name),
        names=lambda b: (b.name,),
        project=lambda b: b.project,
        labels=lambda b: b.labels,
    ),
    "Secret": View[Bundle](
        select=_secrets,
        document=secret_document,
        key=lambda b: (b.project, b.name),
        names=lambda b: (b.name,),
        project=lambda b: b.project,
        labels=lambda b: b.labels,
    ),
    "Volume": View[Volume](
        select=volumes,
        document=volume_document,
        key=lambda v: (v.project, v.name),
        names=lambda v: (v.name,),
        id=lambda v: v.id,
        project=lambda v: v.project,
        labels=lambda v: v.labels,
    ),
    "Snapshot": View[Snapshot](
        select=snapshots,
        document=snapshot_document,
        key=lambda s: (s.project, s.name),
        names=lambda s: (s.name,),
        id=lambda s: s.id,
        project=lambda s: s.project,
    ),
    "BackupTarget": View[BackupTarget](
        select=backup_targets,
        document=backup_target_document,
        key=lambda t: (t.project, t.name),
        names=lambda t: (t.name,),
        project=lambda t: t.project,
    ),
    "StorageClass": View[StorageClass](
        select=storage_classes,
        document=storage_class_document,
        key=lambda c: (c.name,),
        names=lambda c: (c.name,),
    ),
    "Node": View[Node](
        select=_nodes,
        document=node_document,
        key=lambda n: (n.name, n.id),
        names=lambda n: (n.name,),
        id=lambda n: n.id,
        labels=lambda n: n.labels,
    ),
    "Project": View[Project](
        select=_projects,
        document=project_document,
        key=lambda p: (p.name,),
        names=lambda p: (p.name,),
        labels=lambda p: p.labels,
    ),
    "Principal": View[Principal](
        select=_principals,
        document=principal_document,
        key=lambda p: (p.name, p.kind, p.id),  # of one name, a person is found before a node
        names=lambda p: (p.name,),
        id=lambda p: p.id,
    ),
    "Registry": View[ImageRegistry](
        select=_registries,
        document=registry_document,
        key=lambda r: (r.name,),
        names=lambda r: (r.name,),
    ),
    "Image": View[Image](
        select=_images,
        document=image_document,
        key=lambda i: (*i.names[:1], i.digest),
        names=_image_names,
        id=lambda i: i.digest,
    ),
    "Event": View[Event](
        select=_events,
        document=lambda backend, event: event,
        key=lambda e: (e.id,),
        names=lambda e: (e.id,),
        project=lambda e: e.project,
        app=lambda e: e.app,
    ),
}


async def find(backend: Backend, kind: str, project: str | None, name: str) -> Any:
    """The record of that name, that id, or the only one whose id begins so. Raises `NotFound`, `Invalid`."""
    view = VIEWS[kind]
    found = view.lookup(backend, name)
    if found is not None and project in (None, view.project(found)):
        return found
    if project is not None and (found := view.named(backend, project, name)) is not None:
        return found
    here = [r for r in await view.select(backend) if project is None or view.project(r) in ("", project)]
    wanted = _canonical(name) if kind == "Image" else name
    named = [r for r in here if wanted in view.names(r) or name == view.id(r)]
    if named:
        return max(named, key=view.key)
    begun = [r for r in here if view.id(r).startswith(name)] if len(name) >= _PREFIX else []
    if len(begun) > 1:
        ids = ", ".join(sorted(view.id(r)[: len(name) + 4] for r in begun)[:5])
        raise Invalid(f"{name!r} fits {len(begun)} things: {ids}", hint="write more of the id")
    if not begun:
        resource = RESOURCES[kind]
        where = f" in project {project!r}" if project else ""
        raise NotFound(
            f"there is no {resource.singular} {name[:200]!r}{where}",
            hint=f"hivemind get {resource.plural} shows them",
        )
    return begun[0]


def _canonical(name: str) -> str:
    try:
        return str(parse_reference(name))
    except Invalid:
        return name


async def show(backend: Backend, kind: str, project: str | None, name: str) -> msgspec.Struct:
    record = await find(backend, kind, project, name)
    return VIEWS[kind].document(backend, record)
