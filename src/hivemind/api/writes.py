"""Which operation a write of each kind becomes. `version` is what `If-Match` names; 0 is "must not be there"."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from msgspec.structs import replace

from hivemind.api.endpoint import Call
from hivemind.api.jobs.checking import check_job, check_routine
from hivemind.api.sealed import credential, pieces
from hivemind.model.content import joined
from hivemind.model.principal import Principal, Role
from hivemind.state.operations import (
    DeleteApp,
    DeleteBackupTarget,
    DeleteContent,
    DeleteJob,
    DeleteProject,
    DeleteRegistry,
    DeleteRoutine,
    DeleteSnapshot,
    DeleteStorageClass,
    DeleteVolume,
    DeployApp,
    Operation,
    PutBackupTarget,
    PutContent,
    PutJob,
    PutProject,
    PutRegistry,
    PutRoutine,
    PutSnapshot,
    PutStorageClass,
    PutVolume,
    RegisterPrincipal,
    RevokePrincipal,
    UpdateNode,
)


@dataclass(frozen=True)
class Writes:
    put: Callable[[Call, int | None, bool], Operation]
    """`(call, version, fresh)`; `fresh` refuses what is there already."""
    delete: Callable[[Call, int | None], Operation] | None = None
    check: Callable[[Call], Awaitable[None]] | None = None
    """Before `put`: raises what speaks against the body, where finding that out takes long."""
    create: bool = True
    """People may make new ones; False where they only change what Hivemind made."""


def _deploy(call: Call, version: int | None, fresh: bool) -> Operation:
    call.body.spec.validate()
    return DeployApp(
        project=call.params["project"], manifest=call.body, if_version=version, create_only=fresh
    )


def _delete_app(call: Call, version: int | None) -> Operation:
    return DeleteApp(project=call.params["project"], name=call.params["name"], if_version=version)


def _put_content(
    call: Call, version: int | None, fresh: bool, kind: Literal["config", "secret"]
) -> Operation:
    body = call.body
    return PutContent(
        kind=kind, project=call.params["project"], name=body.name, labels=body.labels,
        data=pieces(call, kind, body.name, joined(body.data, body.binary)), if_version=version, create_only=fresh,
    )  # fmt: skip


def _delete_content(call: Call, version: int | None, kind: Literal["config", "secret"]) -> Operation:
    return DeleteContent(
        kind=kind, project=call.params["project"], name=call.params["name"], if_version=version
    )


def _put_project(call: Call, version: int | None, fresh: bool) -> Operation:
    return PutProject(manifest=call.body, if_version=0 if fresh else version)


def _delete_project(call: Call, version: int | None) -> Operation:
    return DeleteProject(name=call.params["name"], if_version=version)


def _update_node(call: Call, version: int | None, fresh: bool) -> Operation:
    return UpdateNode(manifest=call.body, if_version=version)


def _put_principal(call: Call, version: int | None, fresh: bool) -> Operation:
    body = call.body
    principal = Principal(id=body.key, name=body.name, kind="person", role=Role[body.role.upper()])
    return RegisterPrincipal(principal=principal, if_version=0 if fresh else version)


def _revoke_principal(call: Call, version: int | None) -> Operation:
    return RevokePrincipal(name=call.params["name"], if_version=version)


def put_registry(call: Call, version: int | None, fresh: bool) -> Operation:
    call.body.validate()
    bare = replace(call.body, password=None, identity_token=None)
    return PutRegistry(manifest=bare, sealed=credential(call, call.body), if_version=0 if fresh else version)


def _delete_registry(call: Call, version: int | None) -> Operation:
    return DeleteRegistry(name=call.params["name"], if_version=version)


def _put_volume(call: Call, version: int | None, fresh: bool) -> Operation:
    return PutVolume(
        project=call.params["project"], manifest=call.body, if_version=version, create_only=fresh
    )


def _delete_volume(call: Call, version: int | None) -> Operation:
    return DeleteVolume(project=call.params["project"], name=call.params["name"], if_version=version)


def _put_snapshot(call: Call, version: int | None, fresh: bool) -> Operation:
    return PutSnapshot(project=call.params["project"], manifest=call.body, create_only=fresh)


def _delete_snapshot(call: Call, version: int | None) -> Operation:
    return DeleteSnapshot(project=call.params["project"], name=call.params["name"], if_version=version)


def _put_class(call: Call, version: int | None, fresh: bool) -> Operation:
    return PutStorageClass(manifest=call.body, if_version=0 if fresh else version)


def _delete_class(call: Call, version: int | None) -> Operation:
    return DeleteStorageClass(name=call.params["name"], if_version=version)


def _put_target(call: Call, version: int | None, fresh: bool) -> Operation:
    return PutBackupTarget(
        project=call.params["project"], manifest=call.body, if_version=0 if fresh else version
    )


def _delete_target(call: Call, version: int | None) -> Operation:
    return DeleteBackupTarget(project=call.params["project"], name=call.params["name"], if_version=version)


def _put_job(call: Call, version: int | None, fresh: bool) -> Operation:
    return PutJob(project=call.params["project"], manifest=call.body, if_version=version, create_only=fresh)


def _delete_job(call: Call, version: int | None) -> Operation:
    return DeleteJob(project=call.params["project"], name=call.params["name"], if_version=version)


def _put_routine(call: Call, version: int | None, fresh: bool) -> Operation:
    return PutRoutine(
        project=call.params["project"], manifest=call.body, if_version=version, create_only=fresh
    )


def _delete_routine(call: Call, version: int | None) -> Operation:
    return DeleteRoutine(project=call.params["project"], name=call.params["name"], if_version=version)


WRITES: dict[str, Writes] = {
    "Job": Writes(put=_put_job, delete=_delete_job, check=check_job),
    "Routine": Writes(put=_put_routine, delete=_delete_routine, check=check_routine),
    "App": Writes(put=_deploy, delete=_delete_app),
    "Project": Writes(put=_put_project, delete=_delete_project),
    "Principal": Writes(put=_put_principal, delete=_revoke_principal),
    "Config": Writes(
        put=partial(_put_content, kind="config"), delete=partial(_delete_content, kind="config")
    ),
    "Secret": Writes(
        put=partial(_put_content, kind="secret"), delete=partial(_delete_content, kind="secret")
    ),
    "Registry": Writes(put=put_registry, delete=_delete_registry),
    "Volume": Writes(put=_put_volume, delete=_delete_volume),
    "Snapshot": Writes(put=_put_snapshot, delete=_delete_snapshot),
    "BackupTarget": Writes(put=_put_target, delete=_delete_target),
    "StorageClass": Writes(put=_put_class, delete=_delete_class),
    "Node": Writes(put=_update_node, create=False),
}
