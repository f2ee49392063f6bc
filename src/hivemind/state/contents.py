"""What operations do to configs and secrets, and to the apps that use them."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import Conflict, Invalid, NotFound, TooLarge
from hivemind.model.app import App
from hivemind.model.content import MAX_SIZE, Bundle, Content, Piece, references
from hivemind.model.principal import Principal
from hivemind.model.quantity import show_bytes
from hivemind.state import pins
from hivemind.state.jobs import using
from hivemind.state.operations import DeleteContent, PutContent
from hivemind.state.projects import check_version, known
from hivemind.state.rollouts import revise
from hivemind.state.state import Outcome, State, bundle_key, content_key


def put(state: State, operation: PutContent, who: Principal) -> Outcome:
    kind, project, name = operation.kind, operation.project, operation.name
    known(state, project)
    old = state.bundles.get(bundle_key(kind, project, name))
    if old and operation.create_only:
        raise Conflict(
            f"there is already a {kind} {name!r}",
            hint=f"change it with: hivemind {kind} set {name} KEY=VALUE",
        )
    check_version(operation.if_version, old.version if old else 0)
    before = state.contents[content_key(kind, project, name, old.number)].data if old else {}
    data = _merged(operation, before)
    labels = operation.labels if operation.labels is not None else old.labels if old else {}
    if old and labels == old.labels and _same(before, data):
        return Outcome(id=_pin(old), version=old.version)
    if old and _same(before, data):
        bundle = replace(old, labels=labels, version=old.version + 1, updated=state.time)
        state.tables.put(state.bundles, bundle_key(kind, project, name), bundle)
        return Outcome(id=_pin(bundle), version=bundle.version)
    _check_size(operation, data)
    users = pins.users(state, kind, project, name)
    _check_needed(state, operation, data, users)
    bundle = _store(state, operation, old, labels, data, who)
    for app in users:
        _roll(state, app, who)
    pins.forget(state, project, {_pin(bundle)})
    return Outcome(id=_pin(bundle), version=bundle.version)


def _merged(operation: PutContent, before: dict[str, Piece]) -> dict[str, Piece]:
    """All it shall hold. Pieces that say the same stay as they were, so that nothing seems to have changed."""
    absent = sorted(set(operation.remove) - before.keys())
    if absent:
        raise NotFound(
            f"{operation.kind} {operation.name!r} has no key {absent[0]!r}",
            hint=f"hivemind {operation.kind} inspect {operation.name} shows its keys",
        )
    kept = {k: v for k, v in before.items() if k not in operation.remove} if operation.keep else {}
    return {**kept, **operation.data}


def _same(before: dict[str, Piece], after: dict[str, Piece]) -> bool:
    return {k: p.fingerprint for k, p in before.items()} == {k: p.fingerprint for k, p in after.items()}


def _check_size(operation: PutContent, data: dict[str, Piece]) -> None:
    if operation.kind == "secret" and not data:
        raise Invalid(
            "a secret holds at least one key", hint="give --from-file KEY=PATH, or remove the secret"
        )
    size = sum(len(key) + len(piece.value) for key, piece in data.items())
    if size > MAX_SIZE:
        raise TooLarge(
            f"{operation.kind} {operation.name!r} would hold {show_bytes(size)}; the most is {show_bytes(MAX_SIZE)}",
            hint="keep large files in the image or in a volume",
        )


def _check_needed(state: State, operation: PutContent, data: dict[str, Piece], users: list[App]) -> None:
    """A key that an app names by name cannot go away below it."""
    for app in users:
        for reference in references(state.revision(app.id, app.revision).spec):
            mine = (reference.kind, reference.name) == (operation.kind, operation.name)
            if mine and reference.key and reference.key not in data:
                raise Conflict(
                    f"app {app.name!r} uses the key {reference.key!r} of {operation.kind} {operation.name!r}",
                    hint="keep that key, or deploy the app without it first",
                )
    for job, key in using.keys_used(state, operation.kind, operation.project, operation.name):
        if key not in data:
            raise Conflict(
                f"job {job!r} uses the key {key!r} of {operation.kind} {operation.name!r}",
                hint="keep that key, or put the job without it first",
            )


def _store(
    state: State,
    operation: PutContent,
    old: Bundle | None,
    labels: dict[str, str],
    data: dict[str, Piece],
    who: Principal,
) -> Bundle:
    """Numbers are never given twice while an old content of that number is kept, even by another of this name."""
    kind, project, name = operation.kind, operation.project, operation.name
    number = max((old.number if old else 0, *state.content_numbers(kind, project, name))) + 1
    bundle = Bundle(
        kind=kind,
        project=project,
        name=name,
        labels=labels,
        number=number,
        version=old.version + 1 if old else 1,
        created=old.created if old else state.time,
        updated=state.time,
    )
    content = Content(
        kind=kind, project=project, name=name, number=number, data=data, created=state.time, by=who.name
    )
    state.tables.put(state.contents, content_key(kind, project, name, number), content)
    state.tables.put(state.bundles, bundle_key(kind, project, name), bundle)
    return bundle


def _roll(state: State, app: App, who: Principal) -> None:
    """What it uses changed: a new revision of the same spec with the newest contents, unless it ignores changes."""
    revision = state.revision(app.id, app.revision)
    if revision.spec.on_change == "roll":
        fresh = pins.newest(state, app.project, revision.spec, revision.pins)
        revise(state, app, app, revision.spec, fresh, who, cause="config")


def delete(state: State, operation: DeleteContent, who: Principal) -> Outcome:
    kind, project, name = operation.kind, operation.project, operation.name
    old = state.bundles.get(bundle_key(kind, project, name))
    if old is None:
        raise NotFound(
            f"there is no {kind} {name!r} in project {project!r}", hint=f"hivemind {kind} ls shows them"
        )
    check_version(operation.if_version, old.version)
    names = [app.name for app in pins.users(state, kind, project, name)]
    names += using.jobs_of(state, kind, project, name)
    if names:
        raise Conflict(
            f"{kind} {name!r} is used by {', '.join(names[:5])}{' and others' if len(names) > 5 else ''}",
            hint="deploy those apps, and put those jobs, without it, or remove them, first",
        )
    state.tables.remove(state.bundles, bundle_key(kind, project, name))
    pins.forget(state, project, {_pin(old)})
    return Outcome(id=_pin(old))


def _pin(bundle: Bundle) -> str:
    return f"{bundle.kind}/{bundle.name}"
