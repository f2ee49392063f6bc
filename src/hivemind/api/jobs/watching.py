"""What changes of one run, batch by batch, for whoever watches it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from hivemind.api.backend import Backend
from hivemind.state.tables import Change


class Watcher:
    """What changed of one run since it was last taken. Rings the bell for news."""

    def __init__(self, run: str, bell: asyncio.Event) -> None:
        self._run = run
        self._prefix = f"{run}/"
        self._bell = bell
        self._paths: dict[str, None] = {}
        self._itself = False

    def changed(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.table == "task_runs" and change.key.startswith(self._prefix):
                self._paths[change.key.removeprefix(self._prefix)] = None
                self._bell.set()
            elif change.table == "runs" and change.key == self._run:
                self._itself = True
                self._bell.set()

    def take(self) -> tuple[bool, list[str]]:
        """Whether the run itself changed, and the paths of the tasks that did."""
        taken = self._itself, list(self._paths)
        self._itself, self._paths = False, {}
        return taken


@contextmanager
def watching(backend: Backend, run: str, bell: asyncio.Event) -> Iterator[Watcher]:
    watcher = Watcher(run, bell)
    undo = backend.on_change(watcher.changed)
    try:
        yield watcher
    finally:
        undo()
