"""May this spec become a revision? Asked for every deploy and every roll-back."""

from __future__ import annotations

from hivemind.errors import Conflict
from hivemind.model.app import App, AppSpec
from hivemind.model.image import parse_reference
from hivemind.scheduler.filters.constraints import parse_constraint
from hivemind.state.dependencies import refuse_cycle
from hivemind.state.permissions import check_permissions
from hivemind.state.state import State


def admit(state: State, project: str, name: str, spec: AppSpec, own: App | None) -> None:
    """`own`: the app itself, unless it is new. Raises what speaks against it."""
    spec.validate()
    if spec.image:
        parse_reference(spec.image)
    for text in spec.constraints:
        parse_constraint(text)
    check_permissions(state, project, spec)
    refuse_cycle(state, project, name, spec)
    _check_clashes(state, project, spec, own)


def _check_clashes(state: State, project: str, spec: AppSpec, own: App | None) -> None:
    """Host ports belong to one app of the hive; service names too."""
    ports = set(spec.node_ports)
    for other in state.apps.values():
        if other.deleted or (own and other.id == own.id):
            continue
        theirs = state.revision(other.id, other.revision).spec
        taken = sorted(ports & set(theirs.node_ports))
        if taken:
            raise Conflict(
                f"port {taken[0]} is already published by app {other.name!r} (project {other.project})",
                hint="publish another host port, or remove that app",
            )
        if spec.service and spec.service == theirs.service and (own is None or other.project == project):
            raise Conflict(
                f"the service name {spec.service!r} belongs to app {other.name!r} (project {other.project})",
                hint="choose another --service name",
            )
