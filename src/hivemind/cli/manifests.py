"""Files of manifests: found, read, checked against their kind. Errors name file, document and line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hivemind.cli.jobfile import read as read_job
from hivemind.cli.jobfile import refuse
from hivemind.cli.sequence import after_what_they_need
from hivemind.errors import Invalid, nearest
from hivemind.model.names import DEFAULT_PROJECT
from hivemind.model.quantity import read
from hivemind.model.registry import RESOURCES
from hivemind.model.resource import Resource
from hivemind.protocols.yaml12 import Located, documents

_SUFFIXES = (".yaml", ".yml", ".json")
_FIRST = {"Project": 0, "Node": 1, "Config": 2, "Secret": 2, "Routine": 3}
"""Kinds that others may need come first."""


@dataclass(frozen=True)
class Manifest:
    """One thing that a file asks for."""

    resource: Resource
    value: Any
    """An instance of `resource.manifest`."""
    project: str
    source: str
    """`app.yaml:12`."""

    @property
    def label(self) -> str:
        return f"{self.resource.singular}/{self.value.name}"


def load(
    paths: Iterable[str], project: str = DEFAULT_PROJECT, *, of: Resource | None = None
) -> list[Manifest]:
    """All manifests in these files and folders, `-` for standard input. `project` is for those that name none, `of` the
    kind that those have to be of, which then need not name it.

    Raises `Invalid` for the first fault, before anything could be done with the others."""
    found = [
        _manifest(located, source, project, of)
        for path in paths
        for source, text in _texts(path)
        for located in _unrolled(text, source)
    ]
    if not found:
        raise Invalid(
            f"{', '.join(paths)}: no document in it", hint="a document has `kind: App`, `name` and `spec`"
        )
    _refuse_twins(found)
    found.sort(key=lambda m: _FIRST.get(m.resource.kind, 9))
    others = [manifest for manifest in found if manifest.resource.kind != "App"]
    apps = [manifest for manifest in found if manifest.resource.kind == "App"]
    return others + after_what_they_need(
        apps,
        key=lambda m: (m.project, m.value.name),
        needs=lambda m: [(m.project, name) for name in sorted(m.value.spec.depends_on)],
    )


def _texts(path: str) -> Iterator[tuple[str, str]]:
    if path == "-":
        yield "standard input", sys.stdin.read()
        return
    place = Path(path)
    if place.is_dir():
        files = sorted(p for p in place.iterdir() if p.suffix in _SUFFIXES and p.is_file())
        if not files:
            raise Invalid(f"{path} holds no manifests", hint="their names end with .yaml, .yml or .json")
    else:
        files = [place]
    for file in files:
        try:
            yield str(file), file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise Invalid(f"{file} is not UTF-8 text", hint="save it as UTF-8") from None
        except OSError as error:
            raise Invalid(f"{file} cannot be read: {error.strerror}") from None


def _unrolled(text: str, source: str) -> Iterator[Located]:
    """Documents; a list as `get -o json` prints it (`items`) is each of its items."""
    for located in documents(text, source):
        value = located.value
        if isinstance(value, dict) and isinstance(value.get("items"), list) and "spec" not in value:
            for index, item in enumerate(value["items"]):
                yield _Item(item, located, index)
        else:
            yield located


class _Item(Located):
    def __init__(self, value: Any, parent: Located, index: int) -> None:
        self.value, self.number, self.lines = value, parent.number, parent.lines
        self._parent, self._index = parent, index

    def place(self, path: tuple[str | int, ...] = (), *, key: bool = False) -> tuple[int, int]:
        return self._parent.place(("items", self._index, *path), key=key)


def _manifest(located: Located, source: str, project: str, of: Resource | None) -> Manifest:
    raw = located.value
    where = f"{source}:{located.line()}"
    if not isinstance(raw, dict):
        raise Invalid(
            f"{where}: document {located.number} is not a mapping", hint="it begins like `kind: App`"
        )
    resource = _resource(located, source, of)
    assert resource.manifest is not None
    home = raw.get("project", project)
    if not isinstance(home, str):
        raise Invalid(
            f"{source}:{located.line(('project',))}: the project is not text", hint="write its name"
        )
    if resource.kind == "Job":
        job = read_job(located, source, project)
        refuse([*job.mistakes])
        return Manifest(resource, job.manifest, job.project, job.source)
    drop = {"kind", "project"} | _answered_only(resource)
    body = {key: value for key, value in raw.items() if key not in drop}
    if resource.kind == "Routine" and "spec" not in body:
        about = {key: body.pop(key) for key in ("name", "labels") if key in body}
        body = {**about, "spec": body}
    try:
        value = read(body, resource.manifest)
        if hasattr(value, "spec") and hasattr(value.spec, "validate"):
            value.spec.validate()
    except Invalid as error:
        raise _located(error, located, source) from None
    return Manifest(resource, value, home, where)


def _resource(located: Located, source: str, of: Resource | None) -> Resource:
    raw, kinds = located.value, [r.kind for r in RESOURCES.values() if r.manifest]
    where = f"{source}:{located.line(('kind',))}: document {located.number}"
    kind = raw.get("kind", of.kind if of else "Job" if "tasks" in raw else None)
    if of and kind != of.kind:
        raise Invalid(
            f"{where} is of the kind {kind!r}", hint=f"here it is a {of.singular}; or: hivemind apply -f FILE"
        )
    if kind is None:
        foreign = " (this looks like a compose file)" if "services" in raw else ""
        raise Invalid(
            f"{where} has no kind{foreign}", hint=f"begin it with `kind:` and one of {', '.join(kinds)}"
        )
    if "apiVersion" in raw:
        raise Invalid(
            f"{where} is written for Kubernetes",
            hint="Hivemind's own look like `hivemind get app NAME -o yaml`",
        )
    resource = RESOURCES.get(kind) if isinstance(kind, str) else None
    if resource is None or resource.manifest is None:
        hint = nearest(str(kind), kinds) or f"the kinds are {', '.join(kinds)}"
        raise Invalid(f"{where} has the kind {kind!r}, which cannot be applied", hint=hint)
    return resource


def _answered_only(resource: Resource) -> set[str]:
    """What Hivemind says of a thing and nobody can wish: so that what `get -o yaml` prints can be applied."""
    assert resource.manifest is not None
    written = {f.encode_name for f in msgspec.structs.fields(resource.manifest)}
    return {f.encode_name for f in msgspec.structs.fields(resource.document)} - written


def _located(error: Invalid, located: Located, source: str) -> Invalid:
    """The same error with the place in the file in front of it."""
    message, hint = error.message, error.hint
    match = re.search(r" - at '\$(.*)'$", message)
    path = _path(match[1]) if match else ()
    if match:
        message = message[: match.start()] + (f" in {match[1].lstrip('.')}" if path else "")
    if named := re.search(r"(?:unknown|required) field '([^']+)'", message):
        path = (*path, named[1])
    if not hint and re.search(r"Expected 'str(?: \| null)?', got '(int|float|bool)'", message):
        hint = 'quote it, like "8080", so that it is text'
    return Invalid(f"{source}:{located.line(path)}: document {located.number}: {message}", hint=hint)


def _path(text: str) -> tuple[str | int, ...]:
    """`.spec.ports[0].host` -> ("spec", "ports", 0, "host"). `[...]` stands for a key that is not told."""
    steps: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", text):
        if name:
            steps.append(name)
        elif index.isdigit():
            steps.append(int(index))
    return tuple(steps)


def _refuse_twins(manifests: list[Manifest]) -> None:
    seen: dict[tuple[str, str, str], Manifest] = {}
    for manifest in manifests:
        key = (manifest.resource.kind, manifest.project, manifest.value.name)
        if key in seen:
            raise Invalid(f"{manifest.source}: {manifest.label} stands already at {seen[key].source}",
                          hint="keep one of them")  # fmt: skip
        seen[key] = manifest
