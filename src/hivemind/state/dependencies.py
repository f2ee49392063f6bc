"""What one app waits for: other apps of its project that are started, healthy or completed. Pure.

`started` and `healthy` hold as soon as one replica is so: then the app can be reached. `completed` is about
work that is to be done, so all of its replicas must have ended well. An app that completed was started and
healthy, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from hivemind.errors import Invalid
from hivemind.model.allocation import Allocation, AllocationState
from hivemind.model.app import App, AppSpec, Condition
from hivemind.state.state import State

_WORDS: dict[Condition, str] = {
    "started": "to be started",
    "healthy": "to be healthy",
    "completed": "to be completed",
}


def waits(state: State, allocations: Iterable[Allocation]) -> dict[str, str]:
    """Why which of these may not be placed yet: by id, as `waits for app db to be healthy`.

    Thousands may wait at once, so each revision and each app is asked once."""
    fulfilled = cache(lambda app, condition: holds(state, state.apps[app], condition))

    @cache
    def why(project: str, app: str, revision: int) -> str:
        spec = state.revision(app, revision).spec
        return first_unmet(state, project, spec, lambda app, condition: fulfilled(app.id, condition))

    found = {a.id: why(a.project, a.app, a.revision) for a in allocations}
    return {id: reason for id, reason in found.items() if reason}


def first_unmet(
    state: State, project: str, spec: AppSpec, fulfilled: Callable[[App, Condition], bool]
) -> str:
    for name, condition in sorted(spec.depends_on.items()):
        app = state.find_app(project, name)
        if app is None:
            return f"waits for app {name} {_WORDS[condition]}, and there is no such app yet"
        if not fulfilled(app, condition):
            return f"waits for app {name} {_WORDS[condition]}" + (", which is stopped" if app.stopped else "")
    return ""


def holds(state: State, app: App, condition: Condition) -> bool:
    """As agreed. What runs of an older revision counts while an update goes on, but not what it completed."""
    allocations = state.allocations_of(app.id)
    if condition == "completed":
        newest = {a.slot: a for a in allocations if a.revision == app.revision and a.slot < app.replicas}
        done = [a for a in newest.values() if a.state is AllocationState.COMPLETE]
        return 0 < app.replicas == len(done)
    reached = (AllocationState.HEALTHY, AllocationState.COMPLETE)
    return any(a.state in reached or (condition == "started" and a.started and a.live) for a in allocations)


def start_is_awaited(state: State, allocation: Allocation) -> bool:
    """Whether an app waits just for this one's start, so that its node shall tell."""
    return any(
        revision.spec.depends_on[allocation.app_name] == "started"
        and state.wanting(revision, allocation.project)
        for revision in state.needing(allocation.app_name)
    )


def refuse_cycle(state: State, project: str, name: str, spec: AppSpec) -> None:
    """Raises `Invalid` with the way around when the app would wait for itself."""
    path = _way_back(state, project, name, spec)
    if path:
        raise Invalid(
            f"the apps wait for each other: {' -> '.join(path)}",
            hint="take one of these dependencies away",
        )


def _way_back(state: State, project: str, name: str, spec: AppSpec) -> list[str]:
    """From the app over its dependencies to itself; empty when no way leads there."""
    seen: set[str] = set()
    stack = [[name, needed] for needed in sorted(spec.depends_on, reverse=True)]
    while stack:
        path = stack.pop()
        if path[-1] == name:
            return path
        app = state.find_app(project, path[-1])
        if app is None or app.id in seen:
            continue
        seen.add(app.id)
        further = state.revision(app.id, app.revision).spec.depends_on
        stack += [[*path, needed] for needed in sorted(further, reverse=True)]
    return []
