"""Definitions: from what a person wrote to a `JobManifest`, or to all the mistakes in it at once."""

from __future__ import annotations

from typing import Any

from hivemind.errors import Invalid
from hivemind.jobs.definition.checks import check
from hivemind.jobs.definition.finding import Finding, Findings, Path
from hivemind.jobs.definition.normal import canonical
from hivemind.jobs.definition.shape import GONE, shaped
from hivemind.jobs.library import Library
from hivemind.model.job import JobManifest

_DEEPEST = 60
__all__ = ["Finding", "findings", "read"]


def read(raw: Any, *, routines: Library | None = None) -> JobManifest:
    """The job that `raw`, a JSON-like value, describes, in the flat form of files or as `{name, labels, spec}`.

    `routines` is the project's library; without it calls of what is not the job's own are not looked at.
    Raises `Invalid` that tells all mistakes."""
    manifest, found = findings(raw, routines=routines)
    if manifest is not None and not found:
        return manifest
    raise as_error(found)


def findings(raw: Any, *, routines: Library | None = None) -> tuple[JobManifest | None, list[Finding]]:
    """The job as far as it could be read, and every mistake, in no order. A job with mistakes must not be used."""
    found = Findings()
    if _deep(raw):
        found.report(
            (), "the definition is nested too deeply", f"{_DEEPEST} mappings and lists within each other"
        )
        return None, found.found
    brought = canonical(raw, found)
    if brought is None:
        return None, found.found
    manifest = shaped(brought, JobManifest, found)
    if manifest is GONE:  # for want of a good name; what it does can be looked at all the same
        manifest = shaped({"name": "unnamed", "spec": brought["spec"]}, JobManifest, found)
    if manifest is GONE:
        return None, found.found
    broken = [finding.path for finding in found.found]
    checked = len(found.found)
    check(manifest.spec, found, routines)
    follow = [one for one in found.found[checked:] if not _follows(one.path, broken)]
    return manifest, found.found[:checked] + follow


def as_error(found: list[Finding]) -> Invalid:
    """One error that tells them all."""
    lines = [f"{one.place}: {one.message}" if one.place else one.message for one in found]
    if len(found) == 1:
        return Invalid(lines[0], hint=found[0].hint)
    told = [f"{line} ({one.hint})" if one.hint else line for line, one in zip(lines, found, strict=True)]
    shown = told[:20] + [f"and {len(told) - 20} more"] * (len(told) > 20)
    return Invalid(
        f"{len(found)} mistakes: " + "; ".join(shown), hint="each begins with its place in the definition"
    )


def _deep(raw: Any) -> bool:
    """Whether it is nested deeper than anything that makes sense. Everything after this may call itself."""
    level = [raw]
    for _ in range(_DEEPEST):
        level = [
            one
            for each in level
            for one in (
                each.values() if isinstance(each, dict) else each if isinstance(each, list | tuple) else ()
            )
            if isinstance(one, dict | list | tuple)
        ]
        if not level:
            return False
    return True


def _follows(path: Path, broken: list[Path]) -> bool:
    """Something within was left out for being wrong: what is said of the whole may come of that."""
    return any(one[: len(path)] == path for one in broken)
