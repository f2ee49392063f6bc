"""Who may do what: one table from operation to the role it needs.

Roles ascend: each may do everything that the ones below it may. Nodes stand beside this ladder: they say
facts about themselves and have no wishes of their own. That a node speaks only about itself is checked where
the operation is applied, because only there is it known whom the operation is about.
"""

from __future__ import annotations

from typing import Final

from hivemind.errors import Forbidden
from hivemind.model.principal import Role

NEEDED: Final[dict[str, Role]] = {
    "app.deploy": Role.OPERATOR,
    "app.scale": Role.OPERATOR,
    "app.restart": Role.OPERATOR,
    "app.stop": Role.OPERATOR,
    "app.start": Role.OPERATOR,
    "app.delete": Role.OPERATOR,
    "app.rollback": Role.OPERATOR,
    "app.pause": Role.OPERATOR,
    "app.resume": Role.OPERATOR,
    "content.put": Role.OPERATOR,
    "content.delete": Role.OPERATOR,
    "volume.put": Role.OPERATOR,
    "volume.delete": Role.OPERATOR,
    "volume.restore": Role.OPERATOR,
    "snapshot.put": Role.OPERATOR,
    "snapshot.delete": Role.OPERATOR,
    "storageclass.put": Role.ADMIN,
    "storageclass.delete": Role.ADMIN,
    "backuptarget.put": Role.ADMIN,
    "backuptarget.delete": Role.ADMIN,
    "job.put": Role.OPERATOR,
    "job.delete": Role.OPERATOR,
    "job.pause": Role.OPERATOR,
    "job.backfill": Role.OPERATOR,
    "queue.pause": Role.OPERATOR,
    "run.start": Role.OPERATOR,
    "run.cancel": Role.OPERATOR,
    "run.pause": Role.OPERATOR,
    "run.retry": Role.OPERATOR,
    "run.approve": Role.OPERATOR,
    "event.raise": Role.OPERATOR,
    "routine.put": Role.OPERATOR,
    "routine.delete": Role.OPERATOR,
    "circuit.force": Role.OPERATOR,
    "project.put": Role.ADMIN,
    "project.delete": Role.ADMIN,
    "registry.put": Role.ADMIN,
    "registry.delete": Role.ADMIN,
    "node.update": Role.ADMIN,
    "node.drain": Role.ADMIN,
    "node.expel": Role.ADMIN,
    "hive.found": Role.ADMIN,
    "hive.configure": Role.ADMIN,
    "hive.leave": Role.ADMIN,
    "hive.adopt": Role.ADMIN,
    "jointoken.put": Role.ADMIN,
    "jointoken.delete": Role.ADMIN,
    "principal.register": Role.ADMIN,
    "principal.revoke": Role.ADMIN,
}
"""Operations of people, by their tag. What is not listed is allowed to nobody."""

FACTS: Final[frozenset[str]] = frozenset(
    {
        "node.register",
        "node.accuse",
        "node.acquit",
        "node.restarting",
        "allocations.report",
        "volumes.report",
        "notices.report",
        "coordinates.report",
        "hive.join",
        "hive.ready",
        "hive.evidence",
    }
)
"""Operations by which a node says what it knows: of itself, of others that it cannot reach, of one that turned to it
and proves that it was let in, of one that was caught."""

EITHER: Final[frozenset[str]] = frozenset({"event.raise", "hive.leave"})
"""What people wish, and nodes notice or wish for themselves, alike."""


def may(role: Role, operation: str, *, is_node: bool = False) -> None:
    """Returns if a principal of that role, or a node, may submit the operation; raises `Forbidden`."""
    if operation in FACTS:
        if not is_node:
            raise Forbidden(f"{operation} is a report that only a node makes")
        return
    needed = NEEDED.get(operation)
    if needed is None:
        raise Forbidden(f"nobody may do {operation!r}: this version does not know it")
    if is_node and operation in EITHER:
        return
    if is_node:
        raise Forbidden(f"a node may not do {operation}", hint="sign it with a person's key")
    if role < needed:
        raise Forbidden(
            f"{operation} needs the role {needed.name.lower()}, and this key has {role.name.lower()}",
            hint=f"ask an administrator for a token with the role {needed.name.lower()}",
        )
