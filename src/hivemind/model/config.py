"""The config: settings of a project's apps, as files or variables. Everybody who may look may read it."""

from __future__ import annotations

from typing import Literal

from hivemind.model.base import Document, Spec
from hivemind.model.mount import Key
from hivemind.model.names import Name
from hivemind.model.resource import Column, Resource


class ConfigManifest(Spec, frozen=True, kw_only=True):
    name: Name
    labels: dict[str, str] = {}
    data: dict[Key, str] = {}
    binary: dict[Key, bytes] = {}
    """What is not text, in base64."""


class ConfigDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Config"] = "Config"
    project: str
    name: str
    labels: dict[str, str]
    version: int
    number: int
    """Rises with each change of what it holds."""
    data: dict[str, str]
    binary: dict[str, bytes]
    size: int
    used_by: tuple[str, ...]
    """Apps of the project."""
    created: int
    updated: int

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(sorted((*self.data, *self.binary)))


CONFIG = Resource(
    kind="Config",
    plural="configs",
    short="cm",
    scope="project",
    document=ConfigDocument,
    manifest=ConfigManifest,
    deletable=True,
    columns=(
        Column("NAME", "name"),
        Column("KEYS", "keys", format="list"),
        Column("SIZE", "size", format="bytes"),
        Column("NUMBER", "number", wide=True),
        Column("USED BY", "used_by", format="list"),
        Column("AGE", "created", format="age"),
    ),
)
