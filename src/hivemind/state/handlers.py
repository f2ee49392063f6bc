"""What each operation means. A handler validates first and writes last; a refusal is a raised error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hivemind.errors import Forbidden, NotFound
from hivemind.model.principal import Principal, Role
from hivemind.security.authority import may
from hivemind.state import apps, nodes, projects
from hivemind.state import operations as op
from hivemind.state.state import Outcome, State

Handler = Callable[[State, Any, Principal], Outcome]

_HANDLERS: dict[type[op.Operation], Handler] = {
    op.RegisterNode: nodes.register,
    op.UpdateNode: nodes.update,
    op.DrainNode: nodes.drain,
    op.ReportAllocations: nodes.report,
    op.PutProject: projects.put,
    op.DeleteProject: projects.delete,
    op.DeployApp: apps.deploy,
    op.ScaleApp: apps.scale,
    op.RestartApp: apps.restart,
    op.StopApp: apps.stop,
    op.StartApp: apps.start,
    op.DeleteApp: apps.delete,
}


def handle(state: State, operation: op.Operation, signer: str) -> Outcome:
    if isinstance(operation, op.RegisterPrincipal):
        return _register_principal(state, operation, signer)
    who = _known(state, signer)
    may(who.role, _tag(operation), is_node=who.kind == "node")
    return _HANDLERS[type(operation)](state, operation, who)


def _register_principal(state: State, operation: op.RegisterPrincipal, signer: str) -> Outcome:
    """The founder makes itself administrator; later ones are let in by an administrator."""
    new = operation.principal
    if len(state.principals):
        may(_known(state, signer).role, _tag(operation))
    elif new.id != signer or new.role is not Role.ADMIN:
        raise Forbidden("a new hive is founded by its administrator's own key")
    state.tables.put(state.principals, new.id, new)
    return Outcome(id=new.id)


def _known(state: State, signer: str) -> Principal:
    if signer not in state.principals:
        raise Forbidden("this key is not known to the hive", hint="ask an administrator for a token")
    return state.principals[signer]


def _tag(operation: op.Operation) -> str:
    return str(operation.__struct_config__.tag)


def not_found(kind: str, name: str, hint: str) -> NotFound:
    return NotFound(f"there is no {kind} {name!r}", hint=hint)
