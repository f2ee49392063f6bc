"""Where normalising is: a place in the canonical form, and the place in what was written that it comes from."""

from __future__ import annotations

from typing import Any

from hivemind.errors import Invalid
from hivemind.jobs.definition.finding import Findings, Path


class Place:
    def __init__(self, findings: Findings, canonical: Path = (), written: Path = ()) -> None:
        self.findings, self.canonical, self.written = findings, canonical, written
        findings.moved(canonical, written)

    def at(self, *keys: str | int) -> Place:
        """Further in, where both forms have the same keys."""
        return Place(self.findings, (*self.canonical, *keys), (*self.written, *keys))

    def to(self, *keys: str | int, of: Path) -> Place:
        """What is canonically below `keys` and was written below `of`, both seen from here."""
        return Place(self.findings, (*self.canonical, *keys), (*self.written, *of))

    def refuse(self, message: str, hint: str = "", *, key: bool = False) -> None:
        self.findings.report(self.written, message, hint, key=key)

    def refuse_error(self, error: Invalid) -> None:
        self.refuse(error.message, error.hint)


def as_list(raw: Any, place: Place) -> list[Any]:
    """One thing is a list of it; nothing is none."""
    if raw is None:
        return []
    if isinstance(raw, list | tuple):
        return list(raw)
    place.to(0, of=())
    return [raw]
