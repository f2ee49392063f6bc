"""The OpenAPI 3.1 document, made of the same declarations that answer requests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from hivemind.api.endpoint import Answer, Endpoint
from hivemind.errors import HivemindError
from hivemind.model.answers import PROBLEM_FORMAT, ExecRequest, Problem

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_HEADERS: dict[str, tuple[str, Json]] = {
    "If-Match": (
        "Change only this version: the ETag of a GET.",
        {"type": "string", "pattern": '^"[0-9]{1,15}"$'},
    ),
    "If-None-Match": ("Only create.", {"type": "string", "enum": ["*"]}),
    "Last-Event-ID": ("Id of the last event seen.", {"type": "string", "pattern": "^[0-9-]{1,60}$"}),
    "Idempotency-Key": (
        "The same key again gives the first outcome again, done once.",
        {"type": "string", "pattern": "^[0-9A-Za-z._-]{1,200}$"},
    ),
    "X-Hub-Signature-256": (
        "`sha256=` and the HMAC-SHA256 of the body, as GitHub signs.",
        {"type": "string"},
    ),
    "X-Hivemind-Signature": (
        "The same; over `<timestamp>.<body>` where there is an `X-Hivemind-Timestamp`.",
        {"type": "string"},
    ),
    "X-Hivemind-Timestamp": ("Seconds since 1970.", {"type": "string", "pattern": "^[0-9]{1,12}$"}),
    "X-GitHub-Delivery": ("The same delivery again starts nothing twice.", {"type": "string"}),
    "X-Hivemind-Notice": ("The same, of what a hive sent.", {"type": "string"}),
}
_BY_NAME = {name.lower(): name for name in _HEADERS}


def describe(table: Iterable[Endpoint], version: str) -> Json:
    endpoints = list(table)
    types = [t for e in endpoints for t in _types(e)]
    named = list(dict.fromkeys([Problem, ExecRequest, *types]))
    schemas, components = msgspec.json.schema_components(named, ref_template=_REF)
    known = dict(zip(named, schemas, strict=True))
    paths: dict[str, Json] = {}
    for endpoint in endpoints:
        item = paths.setdefault(_path(endpoint.path), {})
        method = "get" if endpoint.method == "WEBSOCKET" else endpoint.method.lower()
        if method not in item:
            item[method] = _operation(endpoint, known, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hivemind",
            "version": version,
            "description": "Every error is an RFC 9457 problem with a stable `code` and a `hint` at the next step.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A Hivemind token (`hm_…`). Not needed on the unix socket.",
                }
            },
            "schemas": {name: _portable(schema) for name, schema in sorted(components.items())},
        },
    }


def _types(endpoint: Endpoint) -> list[Any]:
    answered = [t for answer in endpoint.answers for t in answer.types if t not in (str, dict)]
    return [*answered, *([endpoint.body] if endpoint.body else []), endpoint.query]


def _path(path: str) -> str:
    return path.replace(":path}", "}")


def _operation(endpoint: Endpoint, known: dict[Any, Json], components: dict[str, Json]) -> Json:
    made: Json = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "parameters": [
            *_path_parameters(endpoint),
            *_query_parameters(endpoint, components),
            *_headers(endpoint),
        ],
        "responses": _responses(endpoint, known),
    }
    if endpoint.open:
        made["security"] = []
    if endpoint.body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": known[endpoint.body]}},
        }
    elif endpoint.upload:
        binary = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
        made["requestBody"] = {"required": True, "content": dict.fromkeys(endpoint.upload, binary)}
    return made


def _path_parameters(endpoint: Endpoint) -> list[Json]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": 600},
        }
        for name in re.findall(r"\{(\w+)", endpoint.path)
    ]


def _query_parameters(endpoint: Endpoint, components: dict[str, Json]) -> list[Json]:
    schema = components[endpoint.query.__name__]
    made = []
    for name, described in schema.get("properties", {}).items():
        shown = dict(described)
        text = shown.pop("description", "")
        parameter: Json = {"name": name, "in": "query", "required": False, "schema": _portable(shown)}
        made.append({**parameter, "description": text} if text else parameter)
    return made


def _headers(endpoint: Endpoint) -> list[Json]:
    taken = [*endpoint.headers, *(["Idempotency-Key"] if endpoint.writes and not endpoint.upload else [])]
    names = dict.fromkeys(_BY_NAME[name.lower()] for name in taken)
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": schema}
        for name, (text, schema) in ((name, _HEADERS[name]) for name in names)
    ]


def _responses(endpoint: Endpoint, known: dict[Any, Json]) -> Json:
    made: Json = {}
    if endpoint.method == "WEBSOCKET":
        made["101"] = {"description": "The connection speaks WebSocket from here on."}
    for answer in endpoint.answers:
        shown = made.setdefault(str(answer.status), {"description": answer.text})
        if answer.types:
            shown.setdefault("content", {})[answer.media] = {"schema": _any_of(answer, known)}
        if answer.etag:
            shown["headers"] = {"ETag": {"description": "Its version.", "schema": {"type": "string"}}}
    for status, errors in _by_status(endpoint.refusals).items():
        described = " ".join(f"{error.title} (`{error.code}`)." for error in errors)
        made[str(status)] = {
            "description": described or HTTPStatus(status).phrase,
            "content": {PROBLEM_FORMAT: {"schema": known[Problem]}},
        }
    return made


def _any_of(answer: Answer, known: dict[Any, Json]) -> Json:
    plain = {str: {"type": "string"}, dict: {"type": "object"}}
    if answer.media in ("application/x-ndjson", "text/event-stream"):
        # Each line, or each event's data, is one of these; the whole body is text.
        return {"type": "string", "x-item": known[answer.types[0]]}
    shown = [plain.get(t) or known[t] for t in answer.types]
    return shown[0] if len(shown) == 1 else {"anyOf": shown}


def _by_status(errors: Iterable[type[HivemindError]]) -> dict[int, list[type[HivemindError]]]:
    made: dict[int, list[type[HivemindError]]] = {}
    for error in errors:
        made.setdefault(error.status, []).append(error)
    return dict(sorted(made.items()))


def _portable(schema: Any) -> Any:
    """Python's end-of-text anchor in the dialect of JSON Schema; amounts as numbers or as people write them."""
    if isinstance(schema, dict):
        if "x-written" in schema:
            bare = {key: value for key, value in schema.items() if key != "x-written"}
            return {**bare, "type": [schema["type"], "string"], "examples": [schema["x-written"]]}
        return {
            k: v.replace(r"\Z", "$") if k == "pattern" and isinstance(v, str) else _portable(v)
            for k, v in schema.items()
        }
    if isinstance(schema, list):
        return [_portable(item) for item in schema]
    return schema
