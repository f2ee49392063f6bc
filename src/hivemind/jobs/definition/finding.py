"""A mistake in a definition, and where in what was written it stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hivemind.errors import Invalid, nearest

Path = tuple[str | int, ...]


class Finding(NamedTuple):
    path: Path
    """Of keys and positions in what was written."""
    message: str
    hint: str = ""
    on_key: bool = False
    """The last key itself is meant, not its value."""

    @property
    def place(self) -> str:
        """`tasks.build.steps[1].run`"""
        return "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in self.path).lstrip(".")


MOST = 1000
"""Mistakes that are told at once."""


class Findings:
    """Collects. What is looked at is the canonical form; `written` tells where its parts came from."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self._known: set[Finding] = set()
        self._origins: dict[Path, Path] = {}

    def moved(self, canonical: Path, written: Path) -> None:
        if self.written(canonical) != written:
            self._origins[canonical] = written

    def shift(self, old: Path, new: Path) -> None:
        """What was canonically at `old` is at `new`."""
        within = {path: origin for path, origin in self._origins.items() if path[: len(old)] == old}
        self._origins[new] = self.written(old)
        for path, origin in within.items():
            self._origins[(*new, *path[len(old) :])] = origin

    def written(self, canonical: Path) -> Path:
        """Of the longest part of `canonical` that was moved, what was written; the rest as it is."""
        for length in range(len(canonical), -1, -1):
            if (origin := self._origins.get(canonical[:length])) is not None:
                return (*origin, *canonical[length:])
        return canonical

    def add(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> None:
        """`path` is canonical."""
        self.report(self.written(path), message, hint, key=key)

    def report(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> None:
        """`path` is as written."""
        finding = Finding(path, message, hint, key)
        if finding not in self._known and len(self._known) < MOST:
            self._known.add(finding)
            self.found.append(finding)

    def add_error(self, path: Path, error: Invalid) -> None:
        self.add(path, error.message, error.hint)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'build'?`, or which there are."""
    names = sorted(known)
    if close := nearest(word, names):
        return close
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"there are {shown}" if shown else ""
