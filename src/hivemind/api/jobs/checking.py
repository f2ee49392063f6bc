"""Definitions are checked here, so that nothing invalid enters the ledger; and for whoever only wants to know."""

from __future__ import annotations

from hivemind.api.endpoint import Endpoint
from hivemind.model.job import JobManifest
from hivemind.model.routine import RoutineManifest

MEDIA = ("application/json", "application/yaml")


def checked(manifest: JobManifest) -> None:
    """Raises `Invalid` that tells the first mistakes."""


def checked_routine(manifest: RoutineManifest) -> None:
    """Raises `Invalid` that tells the first mistakes."""


def checking_endpoints() -> list[Endpoint]:
    return []
