"""Which contents a revision uses: found when it is made, held as long as it is kept."""

from __future__ import annotations

from collections.abc import Iterable

from hivemind.errors import NotFound
from hivemind.model.app import App, AppSpec
from hivemind.model.content import Content, ContentKind, Reference, references
from hivemind.state.state import State, bundle_key, content_key


def pins(state: State, project: str, spec: AppSpec) -> dict[str, int]:
    """The newest contents of all that `spec` names. Raises `NotFound` with the command that makes what is missing."""
    found = {}
    for reference in references(spec):
        bundle = state.bundles.get(bundle_key(reference.kind, project, reference.name))
        if bundle is None:
            raise _missing(reference, project, spec)
        content = state.contents[content_key(reference.kind, project, reference.name, bundle.number)]
        if reference.key and reference.key not in content.data:
            raise _keyless(reference, content)
        found[reference.pin] = bundle.number
    return found


def exists(state: State, project: str, reference: Reference) -> None:
    """Raises `NotFound` with the command that makes what is missing."""
    bundle = state.bundles.get(bundle_key(reference.kind, project, reference.name))
    if bundle is None:
        key = reference.key or "KEY"
        where = "" if project == "default" else f" --project {project}"
        raise NotFound(
            f"there is no {reference.kind} {reference.name!r} in project {project!r}",
            hint=f"hivemind {reference.kind} create {reference.name} --from-file {key}=PATH{where}",
        )
    content = state.contents[content_key(reference.kind, project, reference.name, bundle.number)]
    if reference.key and reference.key not in content.data:
        raise _keyless(reference, content)


def newest(state: State, project: str, spec: AppSpec, old: dict[str, int]) -> dict[str, int]:
    """The same for a spec that ran already: what was removed meanwhile stays as it was pinned."""
    found = dict(old)
    for reference in references(spec):
        bundle = state.bundles.get(bundle_key(reference.kind, project, reference.name))
        if bundle:
            found[reference.pin] = bundle.number
    return found


def _missing(missing: Reference, project: str, spec: AppSpec) -> NotFound:
    """With all the keys that the app wants of it."""
    where = "" if project == "default" else f" --project {project}"
    wanted = {r.key for r in references(spec) if r.pin == missing.pin and r.key} or {"KEY"}
    keys = " ".join(f"--from-file {key}=PATH" for key in sorted(wanted))
    return NotFound(
        f"there is no {missing.kind} {missing.name!r} in project {project!r}",
        hint=f"hivemind {missing.kind} create {missing.name} {keys}{where}",
    )


def _keyless(reference: Reference, content: Content) -> NotFound:
    there = ", ".join(sorted(content.data)) or "none"
    return NotFound(
        f"{reference.kind} {reference.name!r} has no key {reference.key!r}; its keys: {there}",
        hint=f"hivemind {reference.kind} set {reference.name} --from-file {reference.key}=PATH",
    )


def users(state: State, kind: ContentKind, project: str, name: str) -> list[App]:
    """Apps of the project whose wanted revision uses it, by name."""
    pinning = (state.revisions[key] for key in state.pinned_by(f"{kind}/{name}"))
    found = [app for revision in pinning if (app := state.wanting(revision, project))]
    return sorted(found, key=lambda app: app.name)


def forget(state: State, project: str, unpinned: Iterable[str]) -> None:
    """Contents of these pins (`secret/db`) that are neither the newest nor used by any revision go."""
    for pin in sorted(unpinned):
        kind: ContentKind = "config" if pin.startswith("config/") else "secret"
        name = pin.partition("/")[2]
        bundle = state.bundles.get(bundle_key(kind, project, name))
        for number in state.content_numbers(kind, project, name):
            newest = bundle is not None and bundle.number == number
            if not newest and not _held(state, project, pin, number):
                state.tables.remove(state.contents, content_key(kind, project, name, number))


def _held(state: State, project: str, pin: str, number: int) -> bool:
    return any(state.apps[revision.app].project == project for revision in state.pinned_at(pin, number))
