"""The revision: one immutable version of an app's spec."""

from __future__ import annotations

from typing import Literal

from hivemind.model.app import AppSpec
from hivemind.model.base import Document, Record

Cause = Literal["deploy", "restart", "rollback", "config"]


class Revision(Record, frozen=True, kw_only=True):
    """One immutable spec of an app."""

    app: str
    number: int
    spec: AppSpec
    cause: Cause = "deploy"
    """`config`: something that it uses changed."""
    origin: int = 0
    """The revision that a rollback went back to."""
    pins: dict[str, int] = {}
    """`"config/web"`, `"secret/db"` -> the number of the content that it uses."""
    created: int = 0
    by: str = ""


class RevisionDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Revision"] = "Revision"
    app: str
    number: int
    cause: str
    origin: int
    by: str
    created: int
    spec: AppSpec
    pins: dict[str, int]
    state: str
    """Of the deployment that brought it; empty once that is forgotten."""
    reason: str
    current: bool
    """It is the one that shall run."""
    stable: bool
    """It is the one to fall back to."""
