"""The storage class: which driver makes a volume, and with what parameters."""

from __future__ import annotations

from typing import Final, Literal

from hivemind.errors import Invalid
from hivemind.model.base import Document, Record, Spec
from hivemind.model.names import Name
from hivemind.model.resource import Column, Resource

Driver = Literal["local", "nfs"]


class StorageClass(Record, frozen=True, kw_only=True):
    name: str
    driver: Driver = "local"
    parameters: dict[str, str] = {}
    version: int = 1
    created: int = 0

    @property
    def shared(self) -> bool:
        """Its volumes are on no node: any may use them."""
        return self.driver == "nfs"


LOCAL: Final = StorageClass(name="local")
"""The one that is always there."""


class StorageClassManifest(Spec, frozen=True, kw_only=True):
    """Fixed once it is made, because volumes were made by it.

    `local` has no parameters. `nfs` has `server`, `path` (what the server exports) and `options` (mount options)."""

    name: Name
    driver: Driver
    parameters: dict[str, str] = {}

    def validate(self) -> None:
        """Raises `Invalid`."""
        known = {"local": set[str](), "nfs": {"server", "path", "options"}}[self.driver]
        if strange := sorted(set(self.parameters) - known):
            there = ", ".join(sorted(known)) or "none"
            raise Invalid(
                f"the driver {self.driver} has no parameter {strange[0]!r}", hint=f"it has: {there}"
            )
        if self.driver != "nfs":
            return
        for name in ("server", "path"):
            if not self.parameters.get(name):
                raise Invalid(
                    f"the driver nfs needs the parameter {name}",
                    hint="--parameter server=nas.example --parameter path=/export/hive",
                )
        server, path = self.parameters["server"], self.parameters["path"]
        if any(c.isspace() or c in ",/" for c in server) or server.startswith("-"):
            raise Invalid(f"{server!r} is not a server's name or address")
        if not path.startswith("/") or any(c.isspace() for c in path) or ".." in path.split("/"):
            raise Invalid(
                f"{path!r} is not what a server exports", hint="an absolute path, such as /export/hive"
            )
        if any(c.isspace() for c in self.parameters.get("options", "")):
            raise Invalid("mount options have no spaces", hint="write them like vers=4.2,soft")


class StorageClassDocument(Document, frozen=True, kw_only=True):
    kind: Literal["StorageClass"] = "StorageClass"
    name: str
    driver: str
    parameters: dict[str, str]
    volumes: int
    version: int
    created: int


STORAGE_CLASS = Resource(
    kind="StorageClass",
    plural="storageclasses",
    short="sc",
    scope="hive",
    document=StorageClassDocument,
    manifest=StorageClassManifest,
    deletable=True,
    columns=(
        Column("NAME", "name"),
        Column("DRIVER", "driver"),
        Column("VOLUMES", "volumes"),
        Column("AGE", "created", format="age"),
    ),
)
