"""The hive as a group of nodes: founding one, joining, leaving, who may join, and how agreement goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from starlette.responses import Response

from hivemind.api.endpoint import Answer, Call, Endpoint, encode_line, reply
from hivemind.api.intake import upload
from hivemind.api.streams import Streamed, rang
from hivemind.errors import (
    Conflict,
    HivemindError,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
    Unsupported,
    WrongMedia,
)
from hivemind.model.answers import STREAM_FORMAT, Page, problem
from hivemind.model.cluster import (
    ClusterStatus,
    ConfigureRequest,
    ExpelRequest,
    FoundRequest,
    JoinRequest,
    JoinStep,
    JoinTokenDocument,
    JoinTokenRequest,
    LeaveRequest,
    NewJoinToken,
    Recovered,
    RecoverRequest,
)
from hivemind.model.hive import Hive, JoinToken
from hivemind.model.principal import Role
from hivemind.state.operations import ConfigureHive, DeleteJoinToken, ExpelNode
from hivemind.state.state import State

SNAPSHOT = "application/octet-stream"
_CLUSTER = "/v1/cluster"


def cluster_endpoints() -> list[Endpoint]:
    body = (TooLarge, WrongMedia)
    shown = (Answer(200, "The hive as this node sees it.", (ClusterStatus,)),)
    steps = (
        Answer(
            200,
            "One JSON object a line; the last one is `ready`, or has an `error`.",
            (JoinStep,),
            STREAM_FORMAT,
        ),
    )
    return [
        Endpoint("GET", _CLUSTER, "cluster.status", "Who is in the hive, who decides, and whether it can.", _status,
                 shown),
        Endpoint("POST", f"{_CLUSTER}/init", "cluster.init", "Make this node the first of a hive that others may join.",
                 _found, shown, body=FoundRequest, errors=(*body, Conflict, Unsupported), role=Role.ADMIN),
        Endpoint("POST", f"{_CLUSTER}/join", "cluster.join", "Join a hive; answers with progress.", _join, steps,
                 body=JoinRequest, errors=(*body, Conflict), role=Role.ADMIN),
        Endpoint("POST", f"{_CLUSTER}/leave", "cluster.leave", "Leave the hive; this node is alone afterwards.", _leave,
                 shown, body=LeaveRequest, errors=(*body, Conflict), role=Role.ADMIN),
        Endpoint("POST", f"{_CLUSTER}/configure", "cluster.configure", "Change how the hive decides.", _configure,
                 shown, body=ConfigureRequest, errors=(*body, Conflict), role=Role.ADMIN),
        Endpoint("POST", f"{_CLUSTER}/expel", "cluster.expel",
                 "Take a node out of the hive for ever: its key never joins again.", _expel, shown, body=ExpelRequest,
                 errors=(*body, NotFound, Conflict), role=Role.ADMIN),
        Endpoint("GET", f"{_CLUSTER}/tokens", "cluster.tokens", "Who may still join.", _tokens,
                 (Answer(200, "Join tokens, without their secrets.", (Page[JoinTokenDocument],)),), role=Role.ADMIN),
        Endpoint("POST", f"{_CLUSTER}/tokens", "cluster.token-create", "Let nodes join: the token is shown once.",
                 _new_token, (Answer(201, "The token.", (NewJoinToken,)),), body=JoinTokenRequest,
                 errors=(*body, Conflict), role=Role.ADMIN),
        Endpoint("DELETE", f"{_CLUSTER}/tokens/{{id}}", "cluster.token-delete", "Nobody joins with it any more.",
                 _revoke, (Answer(204, "It is void."),), errors=(NotFound,), role=Role.ADMIN),
        Endpoint("GET", f"{_CLUSTER}/snapshot", "cluster.snapshot", "All that was agreed, as one file.", _snapshot,
                 (Answer(200, "The file.", (), SNAPSHOT),), role=Role.ADMIN),
        Endpoint("POST", f"{_CLUSTER}/restore", "cluster.restore",
                 "Begin a new lineage of a hive with what a file holds; this node decides alone at first.", _restore,
                 shown, upload=(SNAPSHOT,), errors=(Conflict, *body), role=Role.ADMIN),
        Endpoint("POST", f"{_CLUSTER}/force-recover", "cluster.force-recover",
                 "Begin a new lineage in which this node alone decides, when the voters cannot be had back.", _recover,
                 (Answer(200, "What it went on with.", (Recovered,)),), body=RecoverRequest,
                 errors=(*body, Conflict), role=Role.ADMIN),
    ]  # fmt: skip


async def _status(call: Call) -> Response:
    return _shown(call)


def _shown(call: Call) -> Response:
    return reply(call.backend.cluster.status())


async def _found(call: Call) -> Response:
    return reply(await call.backend.cluster.found(call.body, call.identity))


async def _leave(call: Call) -> Response:
    await call.backend.cluster.leave(call.body)
    return _shown(call)


async def _configure(call: Call) -> Response:
    wish: ConfigureRequest = call.body
    hive = hive_record(call.state)
    rotation = hive.rotation if wish.rotation is None else round(wish.rotation * 1000)
    await call.submit(
        ConfigureHive(
            max_voters=hive.max_voters if wish.max_voters is None else wish.max_voters,
            require_bft=hive.require_bft if wish.require_bft is None else wish.require_bft,
            rotation=rotation,
            rebalance=hive.rebalance if wish.rebalance is None else wish.rebalance,
        )
    )
    return _shown(call)


async def _expel(call: Call) -> Response:
    wish: ExpelRequest = call.body
    await call.submit(ExpelNode(node=wish.node, reason=wish.reason))
    return _shown(call)


async def _tokens(call: Call) -> Response:
    found = sorted(call.state.join_tokens.values(), key=lambda token: (token.created, token.id))
    return reply(Page(items=[_document(call.state, token) for token in found]))


def _document(state: State, token: JoinToken) -> JoinTokenDocument:
    by = state.principals.get(token.by)
    return JoinTokenDocument(
        id=token.id,
        role=token.role,
        uses=token.uses,
        expires=token.expires,
        created=token.created,
        by=by.name if by else token.by,
    )


async def _new_token(call: Call) -> Response:
    return reply(await call.backend.cluster.new_token(call.body, call.identity), 201)


async def _revoke(call: Call) -> Response:
    wanted = call.params["id"]
    found = [id for id in call.state.join_tokens if id.startswith(wanted)]
    if len(found) != 1:
        many = "several join tokens begin" if found else "no join token begins"
        raise NotFound(f"{many} with {wanted!r}", hint="hivemind cluster token ls shows them")
    await call.submit(DeleteJoinToken(id=found[0]))
    return Response(status_code=204)


async def _snapshot(call: Call) -> Response:
    return Streamed(call.backend.cluster.snapshot(), media_type=SNAPSHOT)


async def _restore(call: Call) -> Response:
    async with aclosing(upload(call.request, call.settings, call.settings.max_upload)) as pieces:
        return reply(await call.backend.cluster.restore(pieces))


async def _recover(call: Call) -> Response:
    if call.body.hive != call.state.hive:
        raise Invalid(
            f"this node is of the hive {call.state.hive}, not {call.body.hive}",
            hint="hivemind cluster status shows its id",
        )
    return reply(await call.backend.cluster.recover())


async def _join(call: Call) -> Response:
    wish: JoinRequest = call.body

    def work(heard: Callable[[JoinStep], None]) -> Awaitable[None]:
        return call.backend.cluster.join(wish, heard)

    return Streamed(_steps(call, work), media_type=STREAM_FORMAT)


async def _steps(
    call: Call, work: Callable[[Callable[[JoinStep], None]], Awaitable[None]]
) -> AsyncIterator[bytes]:
    """Only the latest step is kept for a slow reader. One that leaves does not end the join: half a join helps
    nobody, and asking again with the same token goes on with it."""
    with call.streams.bell() as bell:
        latest = JoinStep()

        def heard(step: JoinStep) -> None:
            nonlocal latest
            latest = step
            bell.set()

        task = asyncio.ensure_future(work(heard))
        _joins.add(task)
        task.add_done_callback(_joined)
        task.add_done_callback(lambda _: bell.set())
        try:
            while not task.done():
                if call.streams.closing:
                    raise Unavailable(
                        "this node is stopping", hint="ask again once it is back: the join goes on"
                    )
                await rang(bell, call.settings.heartbeat)
                if not task.done():
                    yield encode_line(latest)
            await task
            yield encode_line(JoinStep(step="ready", detail=latest.detail))
        except HivemindError as error:
            yield encode_line(JoinStep(error=problem(error)))


_joins: set[asyncio.Future[None]] = set()
"""Kept while they run: the loop itself would let go of them."""


def _joined(task: asyncio.Future[None]) -> None:
    _joins.discard(task)
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()


def hive_record(state: State) -> Hive:
    """Raises `Conflict` when there is none."""
    found = state.hives.get(state.hive)
    if found is None:
        raise Conflict(
            "this node is alone",
            hint="hivemind cluster init makes it the first of a hive that others may join",
        )
    return found
