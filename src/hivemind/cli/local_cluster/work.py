"""Small jobs without end, to see a cluster at work."""

from __future__ import annotations

import threading
from collections import Counter

from hivemind.client.client import Hivemind
from hivemind.errors import HivemindError
from hivemind.model.job import JobManifest, JobSpec, Task
from hivemind.model.project import ProjectManifest

JOB = "simulated"
"""The job, and the project that it has for itself: its tasks are plain commands, which not every project may run."""
_TASKS = 20
_PAUSE = 1.0
_PATIENCE = 30.0


class Feeder:
    """Starts a run, counts where its tasks ran, starts the next. `done` counts tasks by the node's name."""

    def __init__(self, hive: Hivemind) -> None:
        self._hive = hive
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="feeder", daemon=True)
        self.done: Counter[str] = Counter()
        self.runs = 0
        self.trouble = ""

    @property
    def told(self) -> str:
        """How many ran where, and what is in the way."""
        return " ".join(
            [*(f"{node}={count}" for node, count in sorted(self.done.items())), self.trouble]
        ).strip()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(_PATIENCE)

    def _feed(self) -> None:
        while not self._stop.is_set():
            try:
                self._one_run()
                self.trouble = ""
            except HivemindError as error:
                self.trouble = error.message
                self._stop.wait(_PAUSE)

    def _one_run(self) -> None:
        if not self.runs:
            self._hive.projects.put(ProjectManifest(name=JOB, permissions=("processes",)))
            self._hive.jobs.put(_job(), JOB)
        run = self._hive.jobs.run(JOB, JOB)
        while not self._stop.wait(0.2):
            found = self._hive.runs.get(run.name, JOB)
            if found.ended:
                break
        for task in self._hive.runs.tasks(run.name, JOB, states=("succeeded",)):
            if task.role == "task":
                self.done.update(task.nodes[:1])
        self.runs += 1


def _job() -> JobManifest:
    work = Task(run="sleep 0.1; echo done on $(hostname)", for_each=list(range(_TASKS)))
    return JobManifest(name=JOB, spec=JobSpec(tasks={"work": work}))
