"""The project: the namespace that isolates names, quotas, roles and DNS."""

from __future__ import annotations

from typing import Literal

from hivemind.model.base import Document, Record, Spec
from hivemind.model.names import Name
from hivemind.model.permission import Permission
from hivemind.model.resource import Column, Resource


class Project(Record, frozen=True, kw_only=True):
    name: str
    labels: dict[str, str] = {}
    permissions: tuple[Permission, ...] = ()
    version: int = 1
    created: int = 0
    updated: int = 0


class ProjectManifest(Spec, frozen=True, kw_only=True):
    name: Name
    labels: dict[str, str] = {}
    permissions: tuple[Permission, ...] = ()
    """What its apps may ask for beyond the ordinary; nothing, unless an administrator says so."""


class ProjectDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Project"] = "Project"
    name: str
    labels: dict[str, str]
    permissions: tuple[str, ...]
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
