"""Patterns of paths, walked from the top: `incoming/*.csv`, `logs/**/error-[0-9].log`.

`*`, `?` and `[…]` stay within one name, `**` stands for any number of directories. As in a shell, what begins with a
dot is meant only by what begins with one.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from hivemind.errors import Invalid

_ANY = "**"


class Pattern:
    """A place on the way is a set of numbers: how many parts of the pattern lie behind it, in each way to read it."""

    def __init__(self, text: str) -> None:
        """Raises `Invalid` for one that leads outside of where it begins."""
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if not parts or ".." in parts or "\0" in text:
            raise Invalid(
                f"{text!r} is no pattern of files", hint="write it from the top, without ..: incoming/*.csv"
            )
        self._parts = parts
        self.top = self._open({0})

    def below(self, place: frozenset[int], name: str) -> frozenset[int]:
        """The place of that entry; empty: nothing there is meant."""
        found = set()
        for done in place:
            if done == len(self._parts):
                continue
            part = self._parts[done]
            if part == _ANY:
                if not name.startswith("."):
                    found.add(done)
            elif fnmatchcase(name, part) and (part.startswith(".") or not name.startswith(".")):
                found.add(done + 1)
        return self._open(found)

    def means(self, place: frozenset[int]) -> bool:
        """A file there is meant."""
        return len(self._parts) in place

    def goes_on(self, place: frozenset[int]) -> bool:
        """Files below a directory there may be meant."""
        return any(done < len(self._parts) for done in place)

    def _open(self, place: Iterable[int]) -> frozenset[int]:
        """`**` may stand for no directory at all."""
        found = set(place)
        for done in range(len(self._parts)):
            if done in found and self._parts[done] == _ANY:
                found.add(done + 1)
        return frozenset(found)
