"""What can be done with an app or a node beyond writing it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from hivemind.api.collection import WriteQuery, planned
from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.views import VIEWS, find
from hivemind.errors import Conflict, NotFound, Stale, TooLarge, WrongMedia
from hivemind.model.answers import Plan
from hivemind.model.app import AppDocument
from hivemind.model.base import Spec
from hivemind.model.node import Node, NodeDocument, NodeManifest
from hivemind.state.operations import (
    DrainNode,
    LeaveHive,
    Operation,
    PauseApp,
    RestartApp,
    ResumeApp,
    RollbackApp,
    ScaleApp,
    StartApp,
    StopApp,
    UpdateNode,
)


class Scale(Spec, frozen=True, kw_only=True):
    replicas: Annotated[int, Meta(ge=0, le=10_000)]


class Rollback(Spec, frozen=True, kw_only=True):
    to: Annotated[int, Meta(ge=0, description="a revision's number; 0: the last good one before this")] = 0


class Drain(Spec, frozen=True, kw_only=True):
    deadline: Annotated[
        float, Meta(ge=0, le=10**7, description="seconds after which what is left is stopped hard; 0: never")
    ] = 0
    force: Annotated[bool, Meta(description="stop what is there hard, now")] = False


class Remove(Spec, frozen=True, kw_only=True):
    force: Annotated[
        bool, Meta(description="now: what it runs counts as lost, what only it keeps is gone")
    ] = False


def _scale(call: Call) -> Operation:
    return ScaleApp(project=call.params["project"], name=call.params["name"], replicas=call.body.replicas)


def _restart(call: Call) -> Operation:
    return RestartApp(project=call.params["project"], name=call.params["name"])


def _rollback(call: Call) -> Operation:
    return RollbackApp(project=call.params["project"], name=call.params["name"], to=call.body.to)


def _pause(call: Call) -> Operation:
    return PauseApp(project=call.params["project"], name=call.params["name"])


def _resume(call: Call) -> Operation:
    return ResumeApp(project=call.params["project"], name=call.params["name"])


def _stop(call: Call) -> Operation:
    return StopApp(project=call.params["project"], name=call.params["name"])


def _start(call: Call) -> Operation:
    return StartApp(project=call.params["project"], name=call.params["name"])


async def _app_verb(call: Call, wish: Callable[[Call], Operation]) -> Response:
    operation = wish(call)
    if call.query.dry_run:
        return await planned(call, operation)
    await call.submit(operation)
    return await _shown(call, "App")


async def _schedulable(call: Call, wanted: bool) -> Response:
    node: Node = await find(call.backend, "Node", None, call.params["name"])
    manifest = NodeManifest(name=node.name, labels=node.labels, schedulable=wanted)
    operation = UpdateNode(manifest=manifest, if_version=node.version)
    if call.query.dry_run:
        return await planned(call, operation)
    await call.submit(operation)
    return await _shown(call, "Node")


async def _drain(call: Call) -> Response:
    node: Node = await find(call.backend, "Node", None, call.params["name"])
    wish: Drain = call.body
    operation = DrainNode(name=node.name, deadline=round(wish.deadline * 1000), force=wish.force)
    if call.query.dry_run:
        return await planned(call, operation)
    await call.submit(operation)
    return await _shown(call, "Node")


async def _remove(call: Call) -> Response:
    """It may be gone by the time that is answered: then it is shown as it was last."""
    node: Node = await find(call.backend, "Node", None, call.params["name"])
    operation = LeaveHive(node=node.id, force=call.body.force)
    if call.query.dry_run:
        return await planned(call, operation)
    await call.submit(operation)
    last = call.backend.state.nodes.get(node.id, node)
    return reply(VIEWS["Node"].document(call.backend, last), version=last.version)


async def _shown(call: Call, kind: str) -> Response:
    record = await find(call.backend, kind, call.project, call.params["name"])
    return reply(VIEWS[kind].document(call.backend, record), version=record.version)


def verb_endpoints() -> list[Endpoint]:
    app = "/v1/projects/{project}/apps/{name}"
    node = "/v1/nodes/{name}"
    errors = (NotFound, Conflict, Stale)
    app_answer = (Answer(200, "The app; with `dry_run`, the plan.", (AppDocument, Plan), etag=True),)
    node_answer = (Answer(200, "The node; with `dry_run`, the plan.", (NodeDocument, Plan), etag=True),)
    apps = [
        ("restart", _restart, "Replace every replica by a new one of the same spec, one by one."),
        ("pause", _pause, "Let new revisions wait; scaling and healing of what runs go on."),
        ("resume", _resume, "Go on with the revision that waits."),
        ("stop", _stop, "Stop every replica; the app and its replica count are kept."),
        ("start", _start, "Run a stopped app again."),
    ]
    nodes: list[tuple[str, Callable[[Call], Awaitable[Response]], str]] = [
        ("cordon", functools.partial(_schedulable, wanted=False), "Place nothing new on this node."),
        ("uncordon", functools.partial(_schedulable, wanted=True), "Place on this node again."),
    ]
    longer: list[tuple[str, Callable[[Call], Awaitable[Response]], str, type[Spec]]] = [
        ("drain", _drain, "Cordon this node and move or stop what runs there.", Drain),
        (
            "remove",
            _remove,
            "Let this node leave the hive once it is empty and others decide in its place.",
            Remove,
        ),
    ]
    scale = Endpoint(
        "POST", f"{app}/scale", "apps.scale", "Set how many replicas shall run.",
        functools.partial(_app_verb, wish=_scale), app_answer,
        query=WriteQuery, body=Scale, errors=(*errors, TooLarge, WrongMedia),
    )  # fmt: skip
    rollback = Endpoint(
        "POST", f"{app}/rollback", "apps.rollback", "Make a new revision that is like an old one.",
        functools.partial(_app_verb, wish=_rollback), app_answer,
        query=WriteQuery, body=Rollback, errors=(*errors, TooLarge, WrongMedia),
    )  # fmt: skip
    return [
        scale,
        rollback,
        *(
            Endpoint(
                "POST", f"{app}/{verb}", f"apps.{verb}", text, functools.partial(_app_verb, wish=wish),
                app_answer, query=WriteQuery, errors=errors,
            )
            for verb, wish, text in apps
        ),
        *(
            Endpoint(
                "POST", f"{node}/{verb}", f"nodes.{verb}", text, handler,
                node_answer, query=WriteQuery, errors=errors,
            )
            for verb, handler, text in nodes
        ),
        *(
            Endpoint(
                "POST", f"{node}/{verb}", f"nodes.{verb}", text, handler, node_answer,
                query=WriteQuery, body=body, errors=(*errors, TooLarge, WrongMedia),
            )
            for verb, handler, text, body in longer
        ),
    ]  # fmt: skip
