"""Definitions are checked here, so that nothing invalid enters the ledger; and for whoever only wants to know."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.intake import json_of
from hivemind.errors import NotFound, TooLarge, WrongMedia
from hivemind.jobs.library import Library
from hivemind.model.base import encode
from hivemind.model.job import JobManifest, JobSpec
from hivemind.model.job_answers import Finding, Validation
from hivemind.model.routine import RoutineManifest
from hivemind.state.state import State

MEDIA = ("application/json",)


def check_job(state: State, project: str, manifest: JobManifest) -> None:
    """Raises `Invalid` that tells all mistakes."""
    from hivemind.jobs.definition import read

    read(msgspec.json.decode(encode(manifest)), routines=library(state, project))


def check_routine(state: State, project: str, manifest: RoutineManifest) -> None:
    """The same, of a routine of the project's library: it is checked as one of a job without tasks."""
    from hivemind.jobs.definition import as_error
    from hivemind.jobs.definition.checks import routines, scripts
    from hivemind.jobs.definition.finding import Findings

    job, found = JobSpec(tasks={}, routines={manifest.name: manifest.spec}), Findings()
    scripts.check_routines(job, found)
    routines.check(job, [], library(state, project), found)
    if found.found:
        raise as_error(found.found)


def library(state: State, project: str) -> Library:
    """The project's routines, by name."""
    return {each.name: each for each in state.routines.values() if each.project == project}


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

    raw: Any = await json_of(call.request, call.settings)
    manifest, found = findings(raw, routines=library(call.state, call.params["project"]))
    told = tuple(Finding(path=one.place, message=one.message, hint=one.hint) for one in found)
    canonical = None if told or manifest is None else msgspec.json.decode(encode(manifest))
    return reply(Validation(findings=told, manifest=canonical))
