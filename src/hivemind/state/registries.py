"""What operations do to registries."""

from __future__ import annotations

from hivemind.errors import Conflict, Invalid, NotFound
from hivemind.model.image_registry import ImageRegistry
from hivemind.model.principal import Principal
from hivemind.state.operations import DeleteRegistry, PutRegistry
from hivemind.state.projects import check_version
from hivemind.state.state import Outcome, State

LIMIT = 1000


def put(state: State, operation: PutRegistry, who: Principal) -> Outcome:
    wish = operation.manifest
    if wish.credential is not None:
        raise Invalid("a password must not travel unsealed", hint="update the client or the node")
    wish.validate()
    old = state.registries.get(wish.name)
    check_version(operation.if_version, old.version if old else 0)
    if old is None and len(state.registries) >= LIMIT:
        raise Conflict(
            f"the hive has {LIMIT} registries already", hint="remove some: hivemind registry logout"
        )
    new = ImageRegistry(
        name=wish.name,
        username=wish.username,
        sealed=_sealed(operation, old),
        insecure=wish.insecure,
        ca=wish.ca,
        mirrors=wish.mirrors,
        version=old.version + 1 if old else 1,
        created=old.created if old else state.time,
        updated=state.time,
    )
    state.tables.put(state.registries, new.name, new)
    return Outcome(id=new.name, version=new.version)


def _sealed(operation: PutRegistry, old: ImageRegistry | None) -> bytes:
    """A password belongs to one user: with another one it is forgotten."""
    if operation.sealed is not None:
        return operation.sealed
    return old.sealed if old and old.username == operation.manifest.username else b""


def delete(state: State, operation: DeleteRegistry, who: Principal) -> Outcome:
    old = state.registries.get(operation.name)
    if old is None:
        raise NotFound(
            f"the hive knows nothing of the registry {operation.name!r}",
            hint="hivemind registry ls shows those it knows",
        )
    check_version(operation.if_version, old.version)
    state.tables.remove(state.registries, old.name)
    return Outcome(id=old.name)
