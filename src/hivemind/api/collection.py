"""The endpoints that every declared resource gets: list, read, and for what people write, put, create, delete."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response

from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.intake import if_match, only_new
from hivemind.api.views import VIEWS, find
from hivemind.api.writes import WRITES, Writes
from hivemind.errors import Conflict, Invalid, NotFound, Stale, TooLarge, WrongMedia
from hivemind.model.answers import Page, Plan, PlanStep
from hivemind.model.base import Spec
from hivemind.model.registry import RESOURCES
from hivemind.model.resource import Resource
from hivemind.state.operations import Operation

_WRITE_ERRORS = (NotFound, Conflict, Stale, TooLarge, WrongMedia)


class ListQuery(Spec, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1000, description="how many at most")] = 100
    cursor: Annotated[str, Meta(max_length=2000, description="`next` of the page before")] = ""
    label: tuple[str, ...] = ()
    app: Annotated[str, Meta(max_length=253, description="only what belongs to this app")] = ""


class WriteQuery(Spec, frozen=True, kw_only=True):
    dry_run: Annotated[bool, Meta(description="only answer what would be done")] = False


def collection_endpoints() -> list[Endpoint]:
    return [endpoint for resource in RESOURCES.values() for endpoint in _of(resource)]


def home(resource: Resource) -> str:
    scope = "/projects/{project}" if resource.scope == "project" else ""
    return f"/v1{scope}/{resource.plural}"


def one(resource: Resource) -> str:
    return f"{home(resource)}/{{name:path}}" if resource.kind == "Image" else f"{home(resource)}/{{name}}"


def _of(resource: Resource) -> list[Endpoint]:
    page = Answer(200, f"Some {resource.plural}, sorted by name.", (Page[resource.document],))  # type: ignore[name-defined]
    shown = Answer(200, f"The {resource.singular}.", (resource.document,), etag=_versioned(resource))
    made = [
        Endpoint(
            "GET",
            home(resource),
            f"{resource.plural}.list",
            f"List {resource.plural}.",
            functools.partial(list_documents, resource=resource),
            (page,),
            query=ListQuery,
            errors=(NotFound,) if resource.scope == "project" else (),
        ),
        Endpoint(
            "GET",
            one(resource),
            f"{resource.plural}.get",
            f"Read one {resource.singular}, by name or by a beginning of its id.",
            functools.partial(_get, resource=resource),
            (shown,),
            errors=(NotFound,),
        ),
    ]
    if resource.scope == "project":
        made.append(
            Endpoint(
                "GET",
                f"/v1/{resource.plural}",
                f"{resource.plural}.list_all",
                f"List the {resource.plural} of all projects.",
                functools.partial(list_documents, resource=resource),
                (page,),
                query=ListQuery,
            )
        )
    if resource.kind in WRITES:
        made += _writing(resource, WRITES[resource.kind])
    return made


def _writing(resource: Resource, writes: Writes) -> list[Endpoint]:
    planned = Answer(200, "With `dry_run`: what would be done.", (Plan,))
    changed = Answer(
        200, f"The {resource.singular}; with `dry_run`, the plan.", (resource.document, Plan), etag=True
    )
    created = Answer(201, f"The new {resource.singular}.", (resource.document,), etag=True)
    made = [
        Endpoint(
            "PUT",
            one(resource),
            f"{resource.plural}.put",
            f"Create or change one {resource.singular}."
            if writes.create
            else f"Change one {resource.singular}.",
            functools.partial(_put, resource=resource),
            (changed, created) if writes.create else (changed,),
            query=WriteQuery,
            body=resource.manifest,
            headers=("If-Match", "If-None-Match") if writes.create else ("If-Match",),
            errors=_WRITE_ERRORS,
        )
    ]
    if writes.create:
        made.append(
            Endpoint(
                "POST",
                home(resource),
                f"{resource.plural}.create",
                f"Create one {resource.singular}; refused if the name is taken.",
                functools.partial(_create, resource=resource),
                (created, planned),
                query=WriteQuery,
                body=resource.manifest,
                errors=_WRITE_ERRORS,
            )
        )
    if writes.delete:
        made.append(
            Endpoint(
                "DELETE",
                one(resource),
                f"{resource.plural}.delete",
                f"Remove one {resource.singular}.",
                functools.partial(_delete, resource=resource),
                (Answer(204, "It is removed, or being removed."), planned),
                query=WriteQuery,
                headers=("If-Match",),
                errors=(NotFound, Conflict, Stale),
            )
        )
    return made


async def list_documents(
    call: Call,
    resource: Resource,
    chosen: Callable[[Any], bool] = lambda record: True,
    *,
    records: Iterable[Any] | None = None,
) -> Response:
    """A page of those records that the query and `chosen` want. `records`: among which it is looked, if not all."""
    view, query = VIEWS[resource.kind], call.query
    if call.project is not None:
        _known_project(call, call.project)
    after = cursor_key(query.cursor)
    found = []
    for record in records if records is not None else await view.select(call.backend):
        if call.project is not None and view.project(record) != call.project:
            continue
        if (query.app and view.app(record) != query.app) or not chosen(record):
            continue
        if query.label and not _labelled(view.labels(record), query.label):
            continue
        key = view.key(record)
        if after is None or key > after:
            found.append((key, record))
    found.sort(key=lambda pair: pair[0])
    page = found[: query.limit]
    more = encode_cursor(page[-1][0]) if len(found) > len(page) else ""
    return reply(Page(items=[view.document(call.backend, record) for _, record in page], next=more))


def _known_project(call: Call, project: str) -> None:
    if project not in call.state.projects:
        raise NotFound(f"there is no project {project[:200]!r}", hint="hivemind get projects shows them")


def _labelled(labels: Mapping[str, str], wanted: Sequence[str]) -> bool:
    for each in wanted:
        key, equals, value = each.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def encode_cursor(key: tuple[str, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def cursor_key(text: str) -> tuple[str, ...] | None:
    if not text:
        return None
    try:
        padded = text + "=" * (-len(text) % 4)
        return msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True), type=tuple[str, ...])
    except (ValueError, msgspec.DecodeError):
        raise Invalid(
            "that is not a cursor of ours", hint="send `next` of the page before, unchanged"
        ) from None


async def _get(call: Call, resource: Resource) -> Response:
    record = await find(call.backend, resource.kind, call.project, call.params["name"])
    return _shown(call, resource, record)


def _shown(call: Call, resource: Resource, record: Any, status: int = 200) -> Response:
    document = VIEWS[resource.kind].document(call.backend, record)
    return reply(document, status, version=getattr(document, "version", None))


async def _put(call: Call, resource: Resource) -> Response:
    if call.body.name != call.params["name"]:
        raise Invalid(
            f"the body is about {call.body.name!r}, the address about {call.params['name'][:200]!r}",
            hint="give both the same name",
        )
    return await _write(call, resource, if_match(call.connection), only_new(call.connection))


async def _create(call: Call, resource: Resource) -> Response:
    return await _write(call, resource, None, True)


async def _write(call: Call, resource: Resource, version: int | None, fresh: bool) -> Response:
    writes = WRITES[resource.kind]
    if writes.check:
        await writes.check(call)
    operation = writes.put(call, version, fresh)
    if call.query.dry_run:
        return await planned(call, operation)
    there = await _exists(call, resource, call.body.name)
    try:
        await call.submit(operation)
    except Stale:
        if not fresh:
            raise
        raise Conflict(
            f"there is already a {resource.singular} {call.body.name!r}",
            hint="change that one instead (PUT, or hivemind apply -f FILE), or choose another name",
        ) from None
    record = await find(call.backend, resource.kind, call.project, call.body.name)
    return _shown(call, resource, record, 201 if fresh or not there else 200)


async def _exists(call: Call, resource: Resource, name: str) -> bool:
    view = VIEWS[resource.kind]
    return any(
        name in view.names(r) and (call.project is None or view.project(r) == call.project)
        for r in await view.select(call.backend)
    )


async def _delete(call: Call, resource: Resource) -> Response:
    delete = WRITES[resource.kind].delete
    assert delete is not None
    operation = delete(call, if_match(call.connection))
    if call.query.dry_run:
        return await planned(call, operation)
    await call.submit(operation)
    return Response(status_code=204)


async def planned(call: Call, operation: Operation) -> Response:
    steps = await call.backend.plan(operation, call.identity)
    return reply(Plan(steps=tuple(msgspec.convert(step, PlanStep) for step in steps)))


def _versioned(resource: Resource) -> bool:
    return "version" in resource.document.__struct_fields__
