"""The project's library of routines: each by name, in versions that calls may pin."""

from __future__ import annotations

from typing import Literal

from hivemind.model.base import Document, Record, Spec
from hivemind.model.job import Routine
from hivemind.model.names import Name
from hivemind.model.resource import Column, Resource


class RoutineManifest(Spec, frozen=True, kw_only=True):
    name: Name
    labels: dict[str, str] = {}
    spec: Routine


class LibraryRoutine(Record, frozen=True, kw_only=True):
    """Kept by `<project>/<name>`."""

    project: str
    name: str
    labels: dict[str, str] = {}
    number: int
    """Of the newest version."""
    versions: dict[str, Routine]
    """By number, all of them: jobs may have pinned any."""
    version: int
    created: int
    updated: int


class RoutineDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Routine"] = "Routine"
    project: str
    name: str
    labels: dict[str, str]
    version: int
    number: int
    spec: Routine
    used_by: tuple[str, ...]
    """Jobs of the project."""
    created: int
    updated: int

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(sorted(self.spec.inputs))


ROUTINE = Resource(
    kind="Routine",
    plural="routines",
    short="rt",
    scope="project",
    document=RoutineDocument,
    manifest=RoutineManifest,
    deletable=True,
    columns=(
        Column("NAME", "name"),
        Column("VERSION", "number"),
        Column("INPUTS", "inputs", format="list"),
        Column("USED BY", "used_by", format="list"),
        Column("AGE", "created", format="age"),
    ),
)
