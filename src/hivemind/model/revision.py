"""The revision: one immutable version of an app's spec."""

from __future__ import annotations

from typing import Literal

from hivemind.model.app import AppSpec
from hivemind.model.base import Record


class Revision(Record, frozen=True, kw_only=True):
    """One immutable spec of an app."""

    app: str
    number: int
    spec: AppSpec
    cause: Literal["deploy", "restart", "rollback", "config"] = "deploy"
    """`config`: something that it uses changed."""
    origin: int = 0
    """The revision that a rollback went back to."""
    pins: dict[str, int] = {}
    """`"config/web"`, `"secret/db"` -> the number of the content that it uses."""
    created: int = 0
    by: str = ""
