"""Definitions are checked here, so that nothing invalid enters the ledger; and for whoever only wants to know."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.intake import json_of, upload
from hivemind.errors import Invalid, NotFound, TooLarge, WrongMedia
from hivemind.jobs.library import Library
from hivemind.model.base import encode
from hivemind.model.job import JobManifest, JobSpec
from hivemind.model.job_answers import Finding, Validation
from hivemind.model.routine import RoutineManifest
from hivemind.state.jobs.routines import library

if TYPE_CHECKING:
    from hivemind.jobs.definition import Finding as Mistake
    from hivemind.protocols.yaml12 import Located

MEDIA = ("application/json", "application/yaml", "text/yaml", "application/x-yaml")


async def check_job(call: Call) -> None:
    """Raises `Invalid` that tells all mistakes. In a thread: thousands of tasks take a second, and nobody else shall
    wait."""
    await asyncio.to_thread(_check_job, call.body, library(call.state, call.params["project"]))


async def check_routine(call: Call) -> None:
    """The same, of a routine of the project's library: it is checked as one of a job without tasks."""
    await asyncio.to_thread(_check_routine, call.body, library(call.state, call.params["project"]))


def _check_job(manifest: JobManifest, routines: Library) -> None:
    from hivemind.jobs.definition import read

    read(msgspec.json.decode(encode(manifest)), routines=routines)


def _check_routine(manifest: RoutineManifest, known: Library) -> None:
    from hivemind.jobs.definition import as_error
    from hivemind.jobs.definition.checks import routines, scripts
    from hivemind.jobs.definition.finding import Findings

    job, found = JobSpec(tasks={}, routines={manifest.name: manifest.spec}), Findings()
    scripts.check_routines(job, found)
    routines.check(job, [], known, found)
    if found.found:
        raise as_error(found.found)


def checking_endpoints() -> list[Endpoint]:
    return [
        Endpoint(
            "POST",
            "/v1/projects/{project}/jobs:validate",
            "jobs.validate",
            "Read a definition as people write it and tell all mistakes in it; nothing is put.",
            _validate,
            (Answer(200, "What is to be said of it.", (Validation,)),),
            upload=MEDIA,
            errors=(NotFound, TooLarge, WrongMedia),
        )
    ]


async def _validate(call: Call) -> Response:
    from hivemind.jobs.definition import findings

    routines = library(call.state, call.params["project"])
    if "yaml" not in call.request.headers.get("content-type", ""):
        raw: Any = await json_of(call.request, call.settings)
        manifest, found = await asyncio.to_thread(findings, raw, routines=routines)
        return _judged(manifest, [_finding(one) for one in found])
    located = await _document(call)
    manifest, found = await asyncio.to_thread(findings, located.value, routines=routines)
    places = [located.place(one.path, key=one.on_key) for one in found]
    return _judged(manifest, [_finding(one, *at) for one, at in zip(found, places, strict=True)])


async def _document(call: Call) -> Located:
    """The only one of a text in YAML."""
    from hivemind.protocols.yaml12 import documents

    pieces = [piece async for piece in upload(call.request, call.settings, call.settings.max_body)]
    try:
        found = await asyncio.to_thread(lambda: list(documents(b"".join(pieces).decode(), "the body")))
    except UnicodeDecodeError as error:
        raise Invalid(f"the body is not UTF-8 at byte {error.start}") from None
    if len(found) != 1:
        raise Invalid(f"the body has {len(found)} documents", hint="send one definition at a time")
    return found[0]


def _finding(found: Mistake, line: int = 0, column: int = 0) -> Finding:
    return Finding(path=found.place, message=found.message, hint=found.hint, line=line, column=column)


def _judged(manifest: JobManifest | None, found: list[Finding]) -> Response:
    canonical = None if found or manifest is None else msgspec.json.decode(encode(manifest))
    return reply(Validation(findings=tuple(found), manifest=canonical))
