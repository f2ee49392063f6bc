"""Which files were told of: a list on disk, one key a line, that outlives the daemon.

A line is written when the hive has agreed to the event. Killed before that, the daemon tells of the file again, and the
hive knows the key; so nothing is missed and nothing starts twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


class Memory:
    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.new = not path.exists()
        """Nobody has looked for these files before."""
        self._known = set() if self.new else set(path.read_text(errors="replace").split())
        self._added: set[str] = set()
        """Since `looking`."""

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def looking(self) -> None:
        """A look at all files begins."""
        self._added.clear()

    def add(self, key: str) -> None:
        self._known.add(key)
        self._added.add(key)
        with self._path.open("a") as lines:
            lines.write(f"{key}\n")

    def keep(self, keys: Iterable[str]) -> None:
        """Forgets all others, but for those that came since the look began: their files are gone. The list is
        replaced whole."""
        self._known = set(keys) | self._added
        self.new = False
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(f"{key}\n" for key in sorted(self._known)))
        os.replace(fresh, self._path)

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)
