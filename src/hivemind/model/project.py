"""The project: the namespace that isolates names, quotas, roles and DNS."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from hivemind.model.base import Document, Record, Spec
from hivemind.model.names import Name
from hivemind.model.permission import Permission
from hivemind.model.resource import Column, Resource


class Project(Record, frozen=True, kw_only=True):
    name: str
    labels: dict[str, str] = {}
    permissions: tuple[Permission, ...] = ()
    weight: int = 1
    max_tasks: int = 0
    version: int = 1
    created: int = 0
    updated: int = 0


class ProjectManifest(Spec, frozen=True, kw_only=True):
    name: Name
    labels: dict[str, str] = {}
    permissions: tuple[Permission, ...] = ()
    """What its apps and jobs may ask for beyond the ordinary; nothing, unless an administrator says so."""
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Its share of what runs tasks, against the weights of other projects that want it, too."""
    max_tasks: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """How many of its tasks run at a time; 0: no limit."""


class ProjectDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Project"] = "Project"
    name: str
    labels: dict[str, str]
    permissions: tuple[str, ...]
    weight: int
    max_tasks: int
    version: int
    apps: int
    created: int


PROJECT = Resource(
    kind="Project",
    plural="projects",
    short="proj",
    scope="hive",
    document=ProjectDocument,
    manifest=ProjectManifest,
    deletable=True,
    columns=(
        Column("NAME", "name"),
        Column("APPS", "apps"),
        Column("ALLOWED", "permissions", format="list"),
        Column("AGE", "created", format="age"),
    ),
)
