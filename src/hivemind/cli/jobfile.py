"""Files with jobs: YAML, JSON or Python, read whole, and every mistake in them shown where it stands."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from hivemind.cli.tables import printable
from hivemind.errors import HivemindError, Invalid
from hivemind.jobs.definition import Finding, findings
from hivemind.model.job import JobDocument, JobManifest
from hivemind.model.names import DEFAULT_PROJECT
from hivemind.protocols.yaml12 import Located, documents

_ANSWERED = frozenset(JobDocument.__struct_fields__) - {"kind", "project", "name", "labels", "spec"}
"""What `get job -o yaml` says beyond what can be wished."""


class Mistake(NamedTuple):
    source: str
    line: int
    column: int
    message: str
    hint: str = ""
    text: str = ""
    """The line itself."""

    def shown(self) -> str:
        """`etl.yaml:12:5: message`, the line with a caret below it, and what to do."""
        found = [printable(f"{self.source}:{self.line}:{self.column}: {self.message}")]
        text = printable(self.text)
        start = max(0, self.column - 60)
        if text.strip():
            found += [f"    {text[start : start + 96]}", f"    {' ' * (self.column - 1 - start)}^"]
        if self.hint:
            found.append(f"    {printable(self.hint)}")
        return "\n".join(found)


class Job(NamedTuple):
    """One job that a file describes. With mistakes it must not be used."""

    manifest: JobManifest | None
    project: str
    source: str
    """`etl.yaml:1`"""
    mistakes: tuple[Mistake, ...] = ()


def load(paths: Iterable[str], project: str = DEFAULT_PROJECT) -> list[Job]:
    """All jobs in these files, `-` for standard input. Raises `Invalid` that shows every mistake in all of them."""
    found = [job for path in paths for job in examine(path, project)]
    refuse([mistake for job in found for mistake in job.mistakes])
    return found


def refuse(mistakes: list[Mistake]) -> None:
    """Raises `Invalid` if there are any."""
    if mistakes:
        count = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "1 mistake"
        raise Invalid(f"{count}\n" + "\n".join(mistake.shown() for mistake in mistakes))


def examine(path: str, project: str = DEFAULT_PROJECT) -> Iterator[Job]:
    """The jobs of one file, each with its mistakes. What is not a job is one mistake."""
    source = "standard input" if path == "-" else path
    text = _text(path)
    if path.endswith(".py"):
        yield from _python(Path(path), text, project)
        return
    empty = True
    try:
        for located in documents(text, source):
            empty = False
            yield read(located, source, project)
    except Invalid as error:
        yield Job(None, project, source, (_unreadable(error, source, text),))
        return
    if empty:
        nothing = Mistake(source, 1, 1, "there is no job in it", "a job has `name` and `tasks`")
        yield Job(None, project, source, (nothing,))


def read(located: Located, source: str, project: str) -> Job:
    """The job that one document describes; what `hivemind get job -o yaml` prints is read, too."""
    raw = located.value
    found: list[Finding] = []
    if isinstance(raw, dict) and "spec" in raw:
        raw = {key: value for key, value in raw.items() if key not in _ANSWERED}
    home = raw.get("project", project) if isinstance(raw, dict) else project
    if not isinstance(home, str):
        found.append(Finding(("project",), "the project is not text", "write its name"))
    manifest, more = findings(raw)
    mistakes = sorted(_placed(one, located, source) for one in [*found, *more])
    return Job(None if mistakes else manifest, str(home), f"{source}:{located.line()}", tuple(mistakes))


def _placed(finding: Finding, located: Located, source: str) -> Mistake:
    lines = located.lines
    line, column = located.place(finding.path, key=finding.on_key)
    text = lines[line - 1] if line <= len(lines) else ""
    return Mistake(source, line, column, finding.message, finding.hint, text)


def _unreadable(error: Invalid, source: str, text: str) -> Mistake:
    """Of text that is no YAML: `source:LINE: message`."""
    message = error.message
    line, column = 1, 1
    prefix = f"{source}:"
    if message.startswith(prefix):
        place, _, message = message[len(prefix) :].partition(": ")
        line = int(place) if place.isdigit() else 1
    lines = text.splitlines()
    shown = lines[line - 1] if line <= len(lines) else ""
    column = len(shown) - len(shown.lstrip()) + 1
    return Mistake(source, line, column, message, error.hint, shown)


def _text(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid(f"{path} is not UTF-8 text", hint="save it as UTF-8") from None
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from None


def _python(path: Path, text: str, project: str) -> Iterator[Job]:
    """The jobs that a Python file defines; it is run for that, here and by nobody else."""
    from hivemind.authoring.load import jobs_of

    lines = text.splitlines()

    def mistake(line: int, message: str, hint: str) -> Mistake:
        shown = lines[line - 1] if 0 < line <= len(lines) else ""
        return Mistake(str(path), line, len(shown) - len(shown.lstrip()) + 1, message, hint, shown)

    try:
        jobs = jobs_of(path, text)
    except HivemindError as error:
        line = getattr(error, "line", 1)
        yield Job(None, project, str(path), (mistake(line, error.message, error.hint),))
        return
    for job in jobs:
        manifest, found = findings(job.document)
        mistakes = tuple(
            mistake(job.line_of(one.path), f"{one.place}: {one.message}", one.hint) for one in found
        )
        yield Job(None if mistakes else manifest, project, f"{path}:{job.line}", mistakes)
