"""An API resource is a declaration: REST routes, OpenAPI, tables and completion all derive from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec


@dataclass(frozen=True)
class Column:
    """One column of a table. `path` walks attributes from the document (`status.phase`)."""

    header: str
    path: str
    format: Literal["text", "age", "bytes", "list", "short"] = "text"
    wide: bool = False
    """Only shown with `-o wide`."""

    def value(self, document: Any) -> Any:
        for step in self.path.split("."):
            document = getattr(document, step)
        return document


@dataclass(frozen=True)
class Resource:
    """A kind of thing that people list, look at and perhaps write.

    `document` is what the API answers; `manifest` is what it accepts, None for what only Hivemind writes.
    A manifest always has a `name`. A project-scoped resource lives at /v1/projects/<project>/<plural>/<name>,
    a hive-scoped one at /v1/<plural>/<name>.
    """

    kind: str
    plural: str
    short: str
    scope: Literal["project", "hive"]
    document: type[msgspec.Struct]
    columns: tuple[Column, ...]
    manifest: type[msgspec.Struct] | None = None
    deletable: bool = False

    @property
    def singular(self) -> str:
        return self.kind.lower()

    def answers_to(self, word: str) -> bool:
        return word.lower() in (self.singular, self.plural, self.short)
