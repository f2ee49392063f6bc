"""The deployment: one change of an app from one revision to another."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from hivemind.model.base import Document, Record
from hivemind.model.resource import Column, Resource


class DeploymentState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class Deployment(Record, frozen=True, kw_only=True):
    """One change of an app from revision `source` (0: none) to revision `target`."""

    id: str
    project: str
    app: str
    app_name: str
    source: int
    target: int
    state: DeploymentState = DeploymentState.RUNNING
    reason: str = ""
    done: int = 0
    """Replicas that are of the new revision and healthy, or have done their work."""
    total: int = 0
    """Replicas there shall be; what it was in the end for one that is over."""
    progressed: int = 0
    """When (ms) a replica got there last."""
    resumed: int = 0
    """When (ms) it went on after a pause: waiting begins anew."""
    started: int = 0
    ended: int = 0


class DeploymentDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Deployment"] = "Deployment"
    project: str
    name: str
    """The same as the id."""
    id: str
    app: str
    source: int
    target: int
    state: str
    """`paused` while it waits for its app to be resumed."""
    reason: str
    cause: str
    done: int
    total: int
    by: str
    """Who wished for it: a principal's name."""
    started: int
    ended: int

    @property
    def change(self) -> str:
        """`1->2`; `->1` for the first."""
        return f"{self.source or ''}->{self.target}"

    @property
    def progress(self) -> str:
        return f"{self.done}/{self.total}"


DEPLOYMENT = Resource(
    kind="Deployment",
    plural="deployments",
    short="dep",
    scope="project",
    document=DeploymentDocument,
    columns=(
        Column("ID", "id"),
        Column("APP", "app"),
        Column("CHANGE", "change"),
        Column("STATE", "state"),
        Column("DONE", "progress"),
        Column("CAUSE", "cause", wide=True),
        Column("BY", "by", wide=True),
        Column("AGE", "started", format="age"),
        Column("REASON", "reason"),
    ),
)
