"""The documents of one kind: list, get, put, create, delete and their plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

import msgspec

from hivemind.client.connection import Connection, understood
from hivemind.errors import Unsupported
from hivemind.model.answers import Page, Plan, PlanStep
from hivemind.model.base import encode
from hivemind.model.names import DEFAULT_PROJECT
from hivemind.model.resource import Resource

D = TypeVar("D", bound=msgspec.Struct)

_PAGE = 500


class Collection(Generic[D]):
    """`project` is ignored for what belongs to the whole hive; for lists, None means every project."""

    def __init__(self, connection: Connection, resource: Resource) -> None:
        self._connection = connection
        self.resource = resource

    def path(self, name: str | None = None, project: str | None = DEFAULT_PROJECT) -> str:
        scope = f"/projects/{quote(project, safe='')}" if self.resource.scope == "project" and project else ""
        tail = "" if name is None else f"/{quote(name, safe='')}"
        return f"/v1{scope}/{self.resource.plural}{tail}"

    def list(
        self,
        project: str | None = DEFAULT_PROJECT,
        *,
        labels: Sequence[str] = (),
        app: str = "",
        limit: int | None = None,
    ) -> list[D]:
        """`labels`: `key` or `key=value`, all of which must hold. `app`: only what belongs to that app."""
        found: list[D] = []
        page = _PAGE if limit is None else min(max(limit, 1), _PAGE)
        for document in self.each(project, query={"label": labels, "app": app, "limit": page}):
            if limit is not None and len(found) >= limit:
                break
            found.append(document)
        return found

    def each(
        self, project: str | None = DEFAULT_PROJECT, *, query: Mapping[str, Any] | None = None
    ) -> Iterator[D]:
        """The same, page by page as they are read."""
        cursor = ""
        asked = {"follow": "false"} if self.resource.kind == "Event" else {}
        while True:
            answer = self._connection.call(
                "GET",
                self.path(None, project),
                query={"limit": _PAGE, **(query or {}), **asked, "cursor": cursor},
            )
            page: Page[D] = understood(answer.body, Page[self.resource.document])  # type: ignore[name-defined]
            yield from page.items
            cursor = page.next
            if not cursor:
                return

    def get(self, name: str, project: str = DEFAULT_PROJECT) -> D:
        """By name, or by id or an unambiguous beginning of an id. Raises `NotFound`."""
        return self._document(self._connection.call("GET", self.path(name, project)).body)

    def put(
        self, manifest: msgspec.Struct, project: str = DEFAULT_PROJECT, *, if_version: int | None = None
    ) -> D:
        """Creates it or changes it. Raises `Stale` when its version is no longer `if_version`."""
        answer = self._connection.call(
            "PUT", self._path_of(manifest, project), body=encode(manifest), headers=_matching(if_version)
        )
        return self._document(answer.body)

    def create(self, manifest: msgspec.Struct, project: str = DEFAULT_PROJECT) -> D:
        """Raises `Conflict` when the name is taken."""
        answer = self._connection.call("POST", self.path(None, project), body=encode(manifest))
        return self._document(answer.body)

    def delete(self, name: str, project: str = DEFAULT_PROJECT, *, if_version: int | None = None) -> None:
        self._connection.call("DELETE", self.path(name, project), headers=_matching(if_version))

    def plan(self, manifest: msgspec.Struct, project: str = DEFAULT_PROJECT) -> tuple[PlanStep, ...]:
        """What `put` would make the hive do."""
        answer = self._connection.call(
            "PUT", self._path_of(manifest, project), query={"dry_run": "true"}, body=encode(manifest)
        )
        return understood(answer.body, Plan).steps

    def plan_delete(self, name: str, project: str = DEFAULT_PROJECT) -> tuple[PlanStep, ...]:
        answer = self._connection.call("DELETE", self.path(name, project), query={"dry_run": "true"})
        return understood(answer.body, Plan).steps

    def _path_of(self, manifest: msgspec.Struct, project: str) -> str:
        name = getattr(manifest, "name", None)
        if self.resource.manifest is None or not isinstance(name, str):
            raise Unsupported(
                f"{self.resource.plural} cannot be written", hint="only Hivemind itself makes them"
            )
        return self.path(name, project)

    def _document(self, body: bytes) -> D:
        return cast(D, understood(body, self.resource.document))


def _matching(version: int | None) -> dict[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}
