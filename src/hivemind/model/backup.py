"""Backup targets, and the backups that are kept there."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta

from hivemind.errors import Invalid
from hivemind.model.answers import Problem
from hivemind.model.base import Document, Record, Spec
from hivemind.model.names import Name
from hivemind.model.resource import Column, Resource
from hivemind.model.volume import BackupResult

_S3 = re.compile(r"s3:https?://(?P<who>[^/@]*@)?[\w.:\[\]-]+/[\w.-]+(/[\w./-]*)?")
"""Server, bucket and perhaps a prefix."""


class BackupTarget(Record, frozen=True, kw_only=True):
    project: str
    name: str
    location: str
    secret: str
    version: int = 1
    created: int = 0
    updated: int = 0


class BackupTargetManifest(Spec, frozen=True, kw_only=True):
    """`secret` names a secret of the project. Its key `password` encrypts the backups; for S3 its keys
    `access-key-id` and `secret-access-key` sign in, and `ca` may hold the certificates (PEM) to trust. Whoever loses
    the password loses the backups."""

    name: Name
    location: Annotated[
        str, Meta(max_length=2048, description="a directory, or s3:https://HOST[:PORT]/BUCKET[/PREFIX]")
    ]
    secret: Name

    def validate(self) -> None:
        """Raises `Invalid`."""
        hint = "a directory such as /mnt/nas/backups, or s3:https://s3.example.com/bucket/hive"
        if any(not c.isprintable() for c in self.location):
            raise Invalid("the location has characters that cannot be printed", hint=hint)
        if self.location.startswith("/"):
            if self.location.strip("/") == "" or ".." in self.location.split("/"):
                raise Invalid(f"{self.location} cannot hold backups", hint=hint)
            return
        found = _S3.fullmatch(self.location)
        if not found:
            raise Invalid(f"{self.location!r} is not a place for backups", hint=hint)
        if found["who"]:
            raise Invalid(
                "credentials do not belong into the location", hint="put them into the target's secret"
            )


class BackupTargetDocument(Document, frozen=True, kw_only=True):
    kind: Literal["BackupTarget"] = "BackupTarget"
    project: str
    name: str
    location: str
    secret: str
    used_by: tuple[str, ...]
    """Volumes whose policy names it."""
    version: int
    created: int
    updated: int


class Backup(Document, frozen=True, kw_only=True):
    """One backup, as the target itself tells."""

    id: str
    time: int
    """Milliseconds since 1970."""
    volume: str
    project: str
    hive: str
    """The beginning of the id of the hive that made it."""
    consistency: str = ""
    size: int = 0
    """Limit of the volume, in bytes."""


class BackupList(Document, frozen=True, kw_only=True):
    items: list[Backup]


BACKUP_TARGET = Resource(
    kind="BackupTarget",
    plural="backuptargets",
    short="bt",
    scope="project",
    document=BackupTargetDocument,
    manifest=BackupTargetManifest,
    deletable=True,
    columns=(
        Column("NAME", "name"),
        Column("LOCATION", "location"),
        Column("SECRET", "secret"),
        Column("USED BY", "used_by", format="list"),
        Column("AGE", "created", format="age"),
    ),
)


class BackupProgress(Document, frozen=True, kw_only=True):
    """One line of a backup: how much of it is done, from 0 to 1. The last has `result` or `error`."""

    done: float = 0.0
    result: BackupResult | None = None
    error: Problem | None = None
