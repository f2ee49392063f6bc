"""The JSON Schema of definitions in their flat form, with the short ways to write things: for editors.

It is made of the types and of the table of short forms here. It lets nothing pass as unknown that the reader knows;
what only the reader can tell (that a needed task is there, say) it does not try to.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hivemind.jobs.definition.values import TYPES
from hivemind.model.job import PRIORITIES, JobManifest

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_SCALAR: Json = {"type": ["string", "number", "boolean"]}
_TEXTS: Json = {"type": "array", "items": _TEXT}
_INTEGER: Json = {"type": "integer", "minimum": 0}
_SOURCE: Json = {
    "type": "object",
    "properties": {"secret": _TEXT, "config": _TEXT, "key": _TEXT},
    "additionalProperties": False,
}
_ENV: Json = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"anyOf": [_SCALAR, _SOURCE]}},
        {"type": "array", "items": {"type": "string", "pattern": "="}},
    ]
}
_MOUNTS: Json = {"anyOf": [_TEXT, {"type": "array", "items": {"type": ["string", "object"]}}]}
_OBJECTS: Json = {"type": "array", "items": {"type": "object"}}


def document() -> Json:
    """The schema itself, keys in a fixed order."""
    _, components = msgspec.json.schema_components([JobManifest], ref_template="#/$defs/{name}")
    found: dict[str, Json] = {name: _written(schema) for name, schema in components.items()}
    manifest, spec = found.pop("JobManifest"), found.pop("JobSpec")
    for name, change in _SHORT.items():
        _sweeten(found[name], change)
    _sweeten(spec, _JOB)
    properties = {
        "name": manifest["properties"]["name"],
        "labels": {"type": "object", "additionalProperties": _SCALAR},
        "kind": {"const": "Job"},
        "project": _TEXT,
        **spec["properties"],
    }
    found["Task"] = {"anyOf": [_TEXT, found["Task"]]}
    found["Step"] = {"anyOf": [_TEXT, found["Step"]]}
    found["Routine"] = {"anyOf": [_TEXT, found["Routine"]]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Hivemind job",
        "description": "Work that must get done: tasks, what starts them, and how they are treated.",
        "type": "object",
        "properties": properties,
        "required": ["name", "tasks"],
        "additionalProperties": False,
        "$defs": dict(sorted(found.items())),
    }


def text(schema: Json) -> str:
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def _written(schema: Any) -> Any:
    """Amounts may be text as well, such as `1m30s`."""
    if isinstance(schema, list):
        return [_written(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "x-written" in schema:
        bare = {key: value for key, value in schema.items() if key != "x-written"}
        return {**bare, "type": [schema["type"], "string"], "examples": [schema["x-written"]]}
    found = {key: _written(value) for key, value in schema.items() if key != "default" or value is not None}
    if isinstance(found.get("pattern"), str):
        found["pattern"] = found["pattern"].replace(r"\Z", "$").replace(r"\x00", r"\u0000")
    return found


def _sweeten(schema: Json, short: dict[str, Json | tuple[str, ...]]) -> None:
    """`short`: key -> a further form of its value; or, of a further key, the whole form. A tuple names a key that it
    means the same as."""
    properties = schema["properties"]
    for key, form in short.items():
        if isinstance(form, tuple):
            continue
        own = properties.get(key)
        properties[key] = form if own is None else {"anyOf": [*_either(own), *_either(form)]}
    for key, form in short.items():
        if isinstance(form, tuple):
            properties[key] = properties[form[0]]


def _either(schema: Json) -> list[Json]:
    if set(schema) <= {"anyOf", "default"} and "anyOf" in schema:
        members: list[Json] = schema["anyOf"]
        return members
    return [schema]


def _one_or_more(item: Json, *others: Json) -> Json:
    return {
        "anyOf": [item, *others, {"type": "array", "items": {"anyOf": [item, *others]} if others else item}]
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/$defs/{name}"}


_OUTPUTS: Json = {
    "anyOf": [
        _TEXTS,
        {"type": "object", "additionalProperties": {"anyOf": [_TEXT, _ref("OutputSpec"), {"type": "null"}]}},
    ]
}
_INPUTS: Json = {
    "anyOf": [
        _TEXTS,
        {"type": "object",
         "additionalProperties": {"anyOf": [{"enum": list(TYPES)}, _ref("Input"), {"type": "null"}]}},
    ]
}  # fmt: skip
_PRIORITY: Json = {"enum": list(PRIORITIES)}
_CONCURRENCY: Json = {"anyOf": [{"type": "integer", "minimum": 1}, _TEXT]}
_GROUPS: Json = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [_TEXTS, {"type": "object", "properties": {"tasks": {"type": ["array", "object"]}}}]
    },
}
_MODE: Json = {"enum": ["sequence", "graph"]}
_NEEDS: Json = {
    "anyOf": [
        _TEXT,
        {"type": "array", "items": {"type": ["string", "object"]}},
        {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
    ]
}
_ROUTINE_OUTPUTS: Json = {
    "anyOf": [_TEXTS, {"type": "object", "additionalProperties": {"type": ["string", "null", "object"]}}]
}
_REASONS: Json = {
    "anyOf": [{"type": ["string", "integer"]}, {"type": "array", "items": {"type": ["string", "integer"]}}]
}
_TRIGGER_INPUTS: dict[str, Json | tuple[str, ...]] = {"if": _SCALAR, "when": ("if",)}

_JOB: dict[str, Json | tuple[str, ...]] = {
    "on": ("triggers",),
    "env": _ENV,
    "environment": ("env",),
    "priority": _PRIORITY,
    "inputs": _INPUTS,
    "outputs": _OUTPUTS,
    "concurrency": _CONCURRENCY,
    "circuits": {"anyOf": [_TEXTS, {"type": "object", "additionalProperties": {"type": ["object", "null"]}}]},
    "notify": _ref("Notify"),
    "keep": {"anyOf": [{"type": "integer", "minimum": 1}, _TEXT]},
    "groups": _GROUPS,
    "mode": _MODE,
}
_SHORT: dict[str, dict[str, Json | tuple[str, ...]]] = {
    "Task": {
        "needs": _NEEDS,
        "depends": _TEXT,
        "if": _SCALAR,
        "when": ("if",),
        "env": _ENV,
        "environment": ("env",),
        "command": _TEXT,
        "entrypoint": _TEXT,
        "volumes": _MOUNTS,
        "secrets": _MOUNTS,
        "configs": _MOUNTS,
        "cpus": _SCALAR,
        "memory": _SCALAR,
        "gpus": _INTEGER,
        "resources": {"type": "object", "properties": {"nodes": _INTEGER}},
        "retry": _INTEGER,
        "retries": ("retry",),
        "priority": _PRIORITY,
        "concurrency": _CONCURRENCY,
        "rate": {"type": "string", "pattern": "/"},
        "outputs": _OUTPUTS,
        "artifacts": _one_or_more(_TEXT, _ref("Artifact")),
        "approval": {"anyOf": [{"const": True}, _TEXT]},
        "constraints": _TEXT,
        "circuits": _TEXT,
        "network": {"enum": ["default", "host", "none"]},
        "groups": _GROUPS,
        "mode": _MODE,
        "include": _OBJECTS,
        "max-parallel": ("max_parallel",),
        "fail-fast": ("fail_fast",),
        "allow-failure": ("allow_failure",),
        "steps": _TEXT,
    },
    "Step": {"env": _ENV, "environment": ("env",)},
    "Routine": {
        "env": _ENV,
        "environment": ("env",),
        "inputs": _INPUTS,
        "outputs": _ROUTINE_OUTPUTS,
        "steps": _TEXT,
    },
    "Retry": {"on": _REASONS},
    "Approval": {"by": _TEXT},
    "Triggers": {
        "schedule": _one_or_more(_TEXT, _ref("Schedule")),
        **{name.lower(): _one_or_more(_TEXT, _ref(kind))
           for name, kind in (("webhook", "Webhook"), ("event", "EventTrigger"), ("file", "FileTrigger"),
                              ("job", "JobTrigger"), ("app", "AppTrigger"))},
    },
    "Schedule": {"tz": ("timezone",)},
    "Webhook": _TRIGGER_INPUTS,
    "EventTrigger": _TRIGGER_INPUTS,
    "FileTrigger": _TRIGGER_INPUTS,
    "JobTrigger": {**_TRIGGER_INPUTS, "states": _TEXT},
    "AppTrigger": {**_TRIGGER_INPUTS, "events": _TEXT},
    "Notify": {"on": _TEXT, "email": _TEXT},
}  # fmt: skip
