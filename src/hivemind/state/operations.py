"""Operations: the wishes and reports that the hive agrees on, one struct each.

An operation says what, never how; its meaning is in `state.apply`. Everything here is a value that travels
signed (see `security.envelope`), so fields are only ever added, with defaults.
"""

from __future__ import annotations

import msgspec

from hivemind.model.allocation import AllocationState
from hivemind.model.app import AppManifest
from hivemind.model.base import encode
from hivemind.model.node import NodeManifest
from hivemind.model.principal import Principal
from hivemind.model.project import ProjectManifest


class Operation(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", omit_defaults=True):
    """Base of all operations."""


class RegisterPrincipal(Operation, frozen=True, kw_only=True, tag="principal.register"):
    """Lets a person or a node in, or gives a person another role.

    The first one of a new hive is accepted from anyone and becomes its administrator."""

    principal: Principal
    if_version: int | None = None


class RevokePrincipal(Operation, frozen=True, kw_only=True, tag="principal.revoke"):
    """From now on that person's key means nothing here."""

    name: str
    if_version: int | None = None


class RegisterNode(Operation, frozen=True, kw_only=True, tag="node.register"):
    """A node says what it is and offers. Sent at every start; agreed labels and schedulability are kept."""

    id: str
    name: str
    cpus: float
    memory: int
    os: str = "linux"
    arch: str = "amd64"
    runtimes: tuple[str, ...] = ()
    labels: dict[str, str] = {}


class UpdateNode(Operation, frozen=True, kw_only=True, tag="node.update"):
    manifest: NodeManifest
    if_version: int | None = None


class DrainNode(Operation, frozen=True, kw_only=True, tag="node.drain"):
    """Unschedulable, and every allocation on it is moved or stopped."""

    name: str


class PutProject(Operation, frozen=True, kw_only=True, tag="project.put"):
    manifest: ProjectManifest
    if_version: int | None = None


class DeleteProject(Operation, frozen=True, kw_only=True, tag="project.delete"):
    """Refused while it has apps."""

    name: str
    if_version: int | None = None


class DeployApp(Operation, frozen=True, kw_only=True, tag="app.deploy"):
    """Creates the app or changes it. Only a changed `spec` makes a new revision."""

    project: str
    manifest: AppManifest
    if_version: int | None = None
    create_only: bool = False
    """Refuse with `Conflict` if the name is taken."""


class ScaleApp(Operation, frozen=True, kw_only=True, tag="app.scale"):
    project: str
    name: str
    replicas: int


class RestartApp(Operation, frozen=True, kw_only=True, tag="app.restart"):
    """A new revision of the same spec: replicas are replaced one by one."""

    project: str
    name: str


class StopApp(Operation, frozen=True, kw_only=True, tag="app.stop"):
    project: str
    name: str


class StartApp(Operation, frozen=True, kw_only=True, tag="app.start"):
    project: str
    name: str


class DeleteApp(Operation, frozen=True, kw_only=True, tag="app.delete"):
    project: str
    name: str
    if_version: int | None = None


class AllocationReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    state: AllocationState
    failing: bool = False
    reason: str = ""
    exit_code: int | None = None


class ReportAllocations(Operation, frozen=True, kw_only=True, tag="allocations.report"):
    """A node's facts about its allocations that must change a decision. Only the node itself may say them."""

    node: str
    reports: tuple[AllocationReport, ...]


AnyOperation = (
    RegisterPrincipal
    | RevokePrincipal
    | RegisterNode
    | UpdateNode
    | DrainNode
    | PutProject
    | DeleteProject
    | DeployApp
    | ScaleApp
    | RestartApp
    | StopApp
    | StartApp
    | DeleteApp
    | ReportAllocations
)

_decoder: msgspec.json.Decoder[Operation] = msgspec.json.Decoder(AnyOperation)


def encode_operation(operation: Operation) -> bytes:
    return encode(operation)


def decode_operation(data: bytes) -> Operation:
    """Raises `msgspec.DecodeError` for anything that is not exactly an operation."""
    return _decoder.decode(data)
