"""Events as they happen, as server-sent events; or a page of those that did."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace
from starlette.responses import Response

from hivemind.api.collection import ListQuery, list_documents
from hivemind.api.endpoint import Answer, Call, Endpoint, encode_line, reply
from hivemind.api.streams import Streamed, rang
from hivemind.errors import Invalid
from hivemind.model.answers import Page
from hivemind.model.event import EVENT, Event
from hivemind.store.events import arrivals, told

_PREFIX = "event/"
_TEXT = Meta(max_length=253)


class EventsQuery(ListQuery, frozen=True, kw_only=True):
    follow: Annotated[bool, Meta(description="a stream without end, or a page of JSON")] = True
    after: Annotated[
        str, Meta(max_length=253, description="id of the last event seen; without it: from now")
    ] = ""
    tail: Annotated[int, Meta(ge=1, le=10_000, description="list only the newest so many")] | UnsetType = (
        UNSET
    )
    since: Annotated[int, Meta(ge=0, description="milliseconds since 1970; what happened then or later")] = 0
    until: Annotated[int, Meta(ge=0, description="milliseconds since 1970; then or earlier; 0: no bound")] = 0
    level: Literal["", "info", "warning"] = ""
    by: Annotated[str, Meta(max_length=253, description="who had it done")] = ""
    name: Annotated[str, Meta(max_length=253, description="what it is about: web, web.0, node-1")] = ""
    project: Annotated[str, _TEXT] = ""
    node: Annotated[str, Meta(max_length=253, description="id of the node that saw it")] = ""
    allocation: Annotated[str, _TEXT] = ""
    type: Annotated[str, Meta(max_length=253, description="`allocation.started`, or all of `allocation`")] = (
        ""
    )


def event_endpoints() -> list[Endpoint]:
    return [
        Endpoint(
            "GET",
            "/v1/events",
            "events.list",
            "Follow events, resumed behind `Last-Event-ID` or `after`; with `follow=false` list them, oldest first.",
            _events,
            (
                Answer(200, "Each event's data is an Event.", (Event,), "text/event-stream"),
                Answer(200, "Some events.", (Page[Event],)),
            ),
            query=EventsQuery,
            headers=("Last-Event-ID",),
        )
    ]


async def _events(call: Call) -> Response:
    query: EventsQuery = call.query
    if not query.follow and not isinstance(query.tail, UnsetType):
        return reply(Page(items=_newest(call, query.tail)))
    if not query.follow:
        return await list_documents(call, EVENT, chosen=lambda event: matches(event, query))
    after = call.connection.headers.get("last-event-id") or query.after
    if not after.isascii() or len(after) > 253:
        raise Invalid("that is not the id of an event", hint="send one that you received")
    return Streamed(
        _stream(call, after), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


def _newest(call: Call, count: int) -> list[Event]:
    stored = call.backend.store.range(_PREFIX, reverse=True)
    events = (event for entry in stored if (event := told(entry)))
    newest = itertools.islice((event for event in events if matches(event, call.query)), count)
    return list(newest)[::-1]


def matches(event: Event, query: EventsQuery) -> bool:
    return (
        query.project in ("", event.project)
        and query.app in ("", event.app)
        and query.allocation in ("", event.allocation)
        and query.node in ("", event.node)
        and (not query.type or event.type == query.type or event.type.startswith(f"{query.type}."))
        and query.level in ("", event.level)
        and query.by in ("", event.by)
        and query.name in ("", event.name)
        and event.time >= query.since
        and (not query.until or event.time <= query.until)
        and event.id > query.after
    )


async def _stream(call: Call, after: str) -> AsyncIterator[bytes]:
    """Reads on from its place whenever the bell rings, so nothing is lost and nothing piles up."""
    store = call.backend.store
    feed, query = arrivals(store), replace(call.query, after="")  # what comes late may have a smaller id
    with call.streams.bell() as bell:
        undo = store.subscribe(_PREFIX, lambda entries: bell.set())
        try:
            entries, position = feed.after(after) if after else ([], feed.end)
            # An id by itself: a client that loses the connection before the first event knows where it was.
            yield f"id: {after or feed.last or '0'}\n\n".encode()
            while not call.streams.closing and call.admitted:
                for entry in entries:
                    event = told(entry)
                    if event is not None and matches(event, query):
                        yield b"id: %s\nevent: %s\ndata: %s\n" % (
                            event.id.encode(),
                            event.type.encode(),
                            encode_line(event),
                        )
                entries, position = feed.since(position)
                if entries:
                    continue
                if not await rang(bell, call.settings.heartbeat):
                    yield b": alive\n\n"
        finally:
            undo()
