"""The notice: a message to people about a run, agreed together with what it tells, so that none is lost or doubled."""

from __future__ import annotations

from typing import Any

from hivemind.model.base import Record
from hivemind.model.job import Notify


class Notice(Record, frozen=True, kw_only=True):
    """Its id is derived from run, occasion and addressee. It stays until it was delivered, or was given up."""

    id: str
    project: str
    run: str
    run_name: str
    on: str
    """Which of `Notify.on`."""
    to: Notify
    payload: dict[str, Any]
    """What is told, as it is posted to a webhook."""
    node: str = ""
    """Whose it is to deliver it."""
    tries: int = 0
    due: int = 0
    """Milliseconds: not before."""
    reason: str = ""
    """Why the last try failed."""
    created: int = 0
