"""Which operation a write of each kind becomes. `version` is what `If-Match` names; 0 is "must not be there"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hivemind.api.endpoint import Call
from hivemind.model.principal import Principal, Role
from hivemind.state.operations import (
    DeleteApp,
    DeleteProject,
    DeployApp,
    Operation,
    PutProject,
    RegisterPrincipal,
    RevokePrincipal,
    UpdateNode,
)


@dataclass(frozen=True)
class Writes:
    put: Callable[[Call, int | None, bool], Operation]
    """`(call, version, fresh)`; `fresh` refuses what is there already."""
    delete: Callable[[Call, int | None], Operation] | None = None
    create: bool = True
    """People may make new ones; False where they only change what Hivemind made."""


def _deploy(call: Call, version: int | None, fresh: bool) -> Operation:
    call.body.spec.validate()
    return DeployApp(
        project=call.params["project"], manifest=call.body, if_version=version, create_only=fresh
    )


def _delete_app(call: Call, version: int | None) -> Operation:
    return DeleteApp(project=call.params["project"], name=call.params["name"], if_version=version)


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


WRITES: dict[str, Writes] = {
    "App": Writes(put=_deploy, delete=_delete_app),
    "Project": Writes(put=_put_project, delete=_delete_project),
    "Principal": Writes(put=_put_principal, delete=_revoke_principal),
    "Node": Writes(put=_update_node, create=False),
}
