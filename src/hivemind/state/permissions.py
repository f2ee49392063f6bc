"""What an app may ask for beyond the ordinary: only what an administrator opened for its project.

Asked when a spec is to become a revision. What runs already keeps running when a permission is taken away."""

from __future__ import annotations

from hivemind.errors import Forbidden
from hivemind.model.app import AppSpec
from hivemind.model.permission import needed
from hivemind.state.state import State


def check_permissions(state: State, project: str, spec: AppSpec) -> None:
    """Raises `Forbidden`, naming everything that is missing and the command that grants it."""
    if state.before_permissions:
        return
    granted = state.projects[project].permissions if project in state.projects else ()
    missing: dict[str, str] = {}
    for permission, what in needed(spec):
        if permission not in granted:
            missing.setdefault(permission, what)
    if missing:
        asked = ", ".join(f"{what} ({permission})" for permission, what in missing.items())
        raise Forbidden(
            f"project {project} does not allow {asked}",
            hint=f"an administrator may allow it: hivemind project allow {project} {' '.join(missing)}",
        )
