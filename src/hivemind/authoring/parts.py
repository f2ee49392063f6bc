"""What jobs have besides Python tasks: commands, approvals, other jobs, groups and hooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hivemind.authoring.decorators import brought
from hivemind.authoring.graph import Group, Node, current, template, use
from hivemind.errors import Invalid

_NO_RESULT = "commands return no values"


def sh(command: str, *, id: str = "sh", env: dict[str, Any] | None = None, **keys: Any) -> Node:
    """Commands for the shell. Values go into `env`: `sh('load "$DAY"', env={"DAY": day})`."""
    variables = {name: template(value) for name, value in (env or {}).items()}
    document = {"run": command, **({"env": variables} if variables else {}), **brought(keys)}
    return _added(id, document, env or {}, _NO_RESULT)


def approval(message: str, *, id: str = "approval", **keys: Any) -> Node:
    """A person says yes or no: `deploy().after(approval("Ship it?", by=["ann"]))`."""
    own = {key: keys.pop(key) for key in ("by", "timeout", "default") if key in keys}
    return _added(
        id, {"approval": {"message": message, **own}, **brought(keys)}, {}, "an approval has no result"
    )


def call_job(name: str, *, id: str = "", with_: dict[str, Any] | None = None, **keys: Any) -> Node:
    """Runs another job of the project and waits for it. Its outputs: `call_job("etl").output("rows")`."""
    given = {key: template(value) for key, value in (with_ or {}).items()}
    document = {"job": name, **({"with": given} if given else {}), **brought(keys)}
    return _added(id or name, document, with_ or {}, "name one of its outputs: .output(name)")


def _added(id: str, document: dict[str, Any], given: dict[str, Any], returns: str) -> Node:
    node = current(id).group.add(id, document, returns=returns)
    use(node, given)
    return node


@contextmanager
def group(id: str, *, sequence: bool = False, **keys: Any) -> Iterator[Group]:
    """`with group("ml", sequence=True) as ml: …`; what is called within is in it."""
    build = current(f"the group {id}")
    around = build.group
    made = Group(id, (around, *around.around))
    document: dict[str, Any] = {}
    made.node = around.add(id, document, returns="a group returns nothing")
    with build.within(made):
        yield made
    if not made.nodes:
        raise Invalid(f"the group {id} has no tasks", hint="call some within it")
    document |= {"tasks": made.tasks(), **({"sequence": True} if sequence else {}), **brought(keys)}
    for hook, tasks in made.hooks.items():
        document[hook] = tasks.tasks()


@contextmanager
def _hook(name: str) -> Iterator[Group]:
    build = current(name)
    around = build.group
    made = around.hooks.setdefault(name, Group(name, (around, *around.around)))
    with build.within(made):
        yield made


def finally_() -> Any:
    """`with finally_(): …`: run when all else is decided, whatever came of it."""
    return _hook("finally")


def on_failure() -> Any:
    return _hook("on_failure")


def on_success() -> Any:
    return _hook("on_success")
