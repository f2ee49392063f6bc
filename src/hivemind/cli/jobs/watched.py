"""A run that is watched: what is known of it, brought up to date by the daemon's stream."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

from hivemind.cli.context import Context
from hivemind.cli.jobs.shape import Shape, shape_of
from hivemind.client.jobs import Change
from hivemind.errors import HivemindError
from hivemind.model.job import JobSpec
from hivemind.model.run import RunDocument, TaskRunDocument

TICK = 0.5
"""Seconds. Durations of what runs grow, whether something happens or not."""
_PAINT = 0.1
"""Seconds between two pictures: changes come in bursts."""
EXIT_CODES = {"succeeded": 0, "canceled": 130, "timed out": 124}
"""How a command that follows a run ends, by the run's state; else 1."""


def exit_code(run: RunDocument) -> int:
    return EXIT_CODES.get(run.state, 1)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Watched:
    """One run and its tasks as they are known."""

    def __init__(self, context: Context, run: RunDocument) -> None:
        self._context = context
        self.run = run
        self.tasks: dict[str, TaskRunDocument] = {}
        self.ended = False
        self._spec: JobSpec | None = None
        self._news: queue.Queue[Change | HivemindError] = queue.Queue()

    def read(self) -> Watched:
        """As it is right now, without watching."""
        hive, project = self._context.hive, self._context.project
        self.tasks = {task.path: task for task in hive.runs.tasks(self.run.id, project)}
        return self

    @property
    def shape(self) -> Shape:
        if self._spec is None:
            found = self._context.hive.runs.definition(self.run.id, self._context.project)
            self._spec = found.spec
        return shape_of(self._spec, self.tasks.values())

    def changes(self) -> Iterator[list[TaskRunDocument]]:
        """The tasks that changed since the last time; now and then none. The first are all of them. Ends with the
        run. Raises what breaks the stream."""
        threading.Thread(target=self._listen, name="watch", daemon=True).start()
        ready = False
        while not self.ended:
            changed: dict[str, TaskRunDocument] = {}
            for change in self._burst(patient=not ready):
                if isinstance(change, HivemindError):
                    raise change
                ready = ready or change.kind == "ready"
                self._take(change)
                if change.task:
                    changed[change.task.path] = change.task
            if ready or self.ended:
                yield list(changed.values())

    def _listen(self) -> None:
        try:
            for change in self._context.hive.runs.watch(self.run.id, self._context.project):
                self._news.put(change)
        except HivemindError as error:
            self._news.put(error)

    def _burst(self, *, patient: bool) -> Iterator[Change | HivemindError]:
        """What comes within a moment; nothing when nothing comes for a tick."""
        try:
            yield self._news.get(timeout=None if patient else TICK)
        except queue.Empty:
            return
        until = time.monotonic() + _PAINT
        while (left := until - time.monotonic()) > 0 and not self.ended:
            try:
                yield self._news.get(timeout=left)
            except queue.Empty:
                return

    def _take(self, change: Change) -> None:
        if change.run:
            self.run = change.run
        if change.task:
            self.tasks[change.task.path] = change.task
        if change.kind == "gone":
            self.tasks.pop(change.path, None)
        self.ended = self.ended or change.kind == "end"
