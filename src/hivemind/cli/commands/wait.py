"""`hivemind wait`: until a condition holds (kubectl), or until replicas have ended and how (docker)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from hivemind.cli.changes import Changes
from hivemind.cli.commands.get import kind
from hivemind.cli.context import Context
from hivemind.cli.jsonpath import parse, shown, value_at
from hivemind.cli.targets import App, resolve
from hivemind.errors import Conflict, Invalid, NotFound, TimedOut
from hivemind.model.allocation import ALLOCATION, AllocationDocument
from hivemind.model.app import APP, AppDocument
from hivemind.model.resource import Resource
from hivemind.model.run import RunDocument

_OVER = ("complete", "failed", "stopped", "lost")
_CONDITIONS = "ready, healthy, stopped, completed, deleted, state=succeeded, jsonpath='{.path}'=value"
_UNKNOWN_CODE = 255
_PATIENCE = 30.0
"""Seconds for a condition, as with kubectl. For an ending there is no limit, as with docker."""

Test = Callable[[Any], bool]


class _Thing(NamedTuple):
    """What is waited for."""

    resource: Resource
    name: str
    shown: str


def wait(context: Context) -> int:
    if not context.args.condition:
        return _endings(context)
    test, deleted = _condition(context.args.condition)
    changes = Changes(context.hive, context.project)
    patience = context.args.get("timeout", _PATIENCE)
    deadline = time.monotonic() + patience
    for thing in [_thing(context, word) for word in context.args.name]:
        if not _came_true(context, changes.looks(deadline), thing, test, deleted=deleted):
            raise TimedOut(
                f"{thing.shown} is not {context.args.condition} after {patience:g} seconds",
                hint=f"see why: hivemind describe {thing.resource.singular} {thing.name}",
            )
        context.print(f"{thing.shown} condition met")
    return 0


def _came_true(context: Context, looks: Iterable[bool], thing: _Thing, test: Test, *, deleted: bool) -> bool:
    collection = context.hive.collection(thing.resource)
    for _ in looks:
        try:
            document = collection.get(thing.name, context.project)
        except NotFound:
            if deleted:
                return True
            raise
        if test(document):
            return True
        if isinstance(document, RunDocument) and document.ended:
            raise Conflict(
                f"{document.name} has ended and is {document.state}",
                hint=f"hivemind job status {document.name} shows why",
            )
    return False


def _condition(text: str) -> tuple[Test, bool]:
    """The test of a document, and whether it is met by there being none."""
    word = text.lower()
    if word in ("delete", "deleted"):
        return (lambda _: False), True
    if word in ("ready", "healthy", "available"):
        return _is_ready, False
    if word == "stopped":
        return _is_stopped, False
    if word in ("completed", "complete"):
        return _is_completed, False
    if word.startswith("state="):
        return (lambda document: getattr(document, "state", None) == word.removeprefix("state=")), False
    if text.startswith("jsonpath="):
        path, wanted = _split(text.removeprefix("jsonpath="))
        steps = parse(path)

        def holds(document: Any) -> bool:
            value = value_at(steps, msgspec.to_builtins(document))
            return value is not None if wanted is None else shown(value) == wanted

        return holds, False
    raise Invalid(f"there is no condition {text!r}", hint=f"there are: {_CONDITIONS}")


def _split(text: str) -> tuple[str, str | None]:
    """`{.a.b}=value`; without a value it is enough that there is one."""
    clean = text.lstrip("'\"")
    if clean.startswith("{"):
        path, brace, rest = clean.partition("}")
        rest = rest.lstrip("'\"")
        return f"{path}{brace}", rest[1:] if rest.startswith("=") else None
    path, equals, value = clean.partition("=")
    return path, value if equals else None


def _is_ready(document: Any) -> bool:
    if isinstance(document, AppDocument):
        status = document.status
        settled = status.phase in ("running", "degraded")  # degraded: it serves, after an update that failed
        return settled and status.ready >= document.replicas > 0
    if isinstance(document, AllocationDocument):
        return bool(document.status.ready)
    return str(getattr(document, "shown", "")) in ("ready", "ok", "running", "succeeded")


def _is_stopped(document: Any) -> bool:
    if isinstance(document, AppDocument):
        return document.status.phase in ("stopped", "completed") and not document.status.running
    return getattr(document, "state", "") in _OVER


def _is_completed(document: Any) -> bool:
    if isinstance(document, AppDocument):
        return document.status.phase == "completed"
    return getattr(document, "state", "") in ("complete", "succeeded")


def _thing(context: Context, word: str) -> _Thing:
    """`web`, `web.0`, or of any kind: `deployment/d-1`."""
    kind_word, slash, name = word.partition("/")
    if slash:
        resource = kind(kind_word)
        return _Thing(resource, name, f"{resource.singular}/{name}")
    if context.args.condition.lower() in ("delete", "deleted"):
        return _Thing(ALLOCATION if "." in word else APP, word, word)
    target = resolve(context, word)
    if isinstance(target, App):
        return _Thing(APP, target.name, f"app/{target.name}")
    return _Thing(ALLOCATION, target.id, f"allocation/{target.document.name}")


def _endings(context: Context) -> int:
    """docker's: blocks until each has ended and prints its exit code, a line each."""
    changes = Changes(context.hive, context.project)
    patience = context.args.get("timeout")
    deadline = None if patience is None else time.monotonic() + patience
    for word in context.args.name:
        code = _ending(context, changes.looks(deadline), word)
        if code is None:
            raise TimedOut(f"{word} has not ended within {patience:g} seconds", hint="it goes on running")
        context.print(str(code))
        context.terminal.out.flush()
    return 0


def _ending(context: Context, looks: Iterable[bool], word: str) -> int | None:
    target = resolve(context, word)
    for _ in looks:
        if isinstance(target, App):
            found = context.hive.allocations.list(context.project, app=target.name)
        else:
            found = [context.hive.allocations.get(target.id, context.project)]
        if found and all(a.state in _OVER for a in found):
            return _code(max(found, key=lambda a: (a.attempt, a.created)))
    return None


def _code(allocation: AllocationDocument) -> int:
    if allocation.exit_code is not None:
        return allocation.exit_code
    last = allocation.status.last
    return last.exit_code if last and last.exit_code is not None else _UNKNOWN_CODE
