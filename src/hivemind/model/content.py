"""What configs and secrets hold: named pieces under one name, numbered as they change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from hivemind.errors import Invalid
from hivemind.model.app import AppSpec
from hivemind.model.base import Record
from hivemind.model.mount import ConfigMount, Key, SecretMount

MAX_SIZE: Final = 2**20
"""Bytes of all pieces of one config or secret together."""

ContentKind = Literal["config", "secret"]


class Piece(Record, frozen=True, kw_only=True):
    """What one key holds."""

    value: bytes
    """As it is for a config, sealed for a secret."""
    digest: str = ""
    """Of a secret: the same for the same plaintext, for sealing it twice gives two values."""

    @property
    def fingerprint(self) -> str | bytes:
        return self.digest or self.value


class Content(Record, frozen=True, kw_only=True):
    """What a config or secret held under one number. Kept while it is the newest, or a revision pins it."""

    kind: ContentKind
    project: str
    name: str
    number: int
    data: dict[str, Piece]
    created: int = 0
    by: str = ""


class Bundle(Record, frozen=True, kw_only=True):
    """A config or a secret, as agreed. What it holds stands in its `Content` of that number."""

    kind: ContentKind
    project: str
    name: str
    labels: dict[str, str] = {}
    number: int = 1
    version: int = 1
    created: int = 0
    updated: int = 0


class Reference(NamedTuple):
    """A config or secret that a spec names; `key` empty: all of its keys."""

    kind: ContentKind
    name: str
    key: str = ""

    @property
    def pin(self) -> str:
        """As `Revision.pins` calls it: `secret/db`."""
        return f"{self.kind}/{self.name}"


def references(spec: AppSpec) -> Iterator[Reference]:
    """Everything that the app's containers take from configs and secrets."""
    for template in spec.templates:
        for mount in template.mounts:
            if isinstance(mount, ConfigMount):
                yield Reference("config", mount.source, mount.key or "")
            elif isinstance(mount, SecretMount):
                yield Reference("secret", mount.source, mount.key or "")
        for source in template.env_from:
            if source.config:
                yield Reference("config", source.config, source.key or "")
            elif source.secret:
                yield Reference("secret", source.secret, source.key or "")


def sealing_context(project: str, name: str, key: str) -> str:
    """What a secret's value is bound to: see `security.sealing`."""
    return f"secret/{project}/{name}/{key}"


def joined(data: dict[Key, str], binary: dict[Key, bytes]) -> dict[str, bytes]:
    """Text and binary values as the bytes they are. Raises `Invalid` for a key in both."""
    twice = sorted(data.keys() & binary.keys())
    if twice:
        raise Invalid(
            f"the key {twice[0]} stands in data and in binary",
            hint="text belongs in data, all else in binary",
        )
    return {**{key: text.encode() for key, text in data.items()}, **binary}
