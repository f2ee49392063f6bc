"""Events of jobs, as they were agreed: what people want to hear of, not each step of each task."""

from __future__ import annotations

from typing import Literal

from hivemind.daemon.proclaimer import Proclaimer
from hivemind.errors import HivemindError
from hivemind.jobs.plan import Plan, is_member, parent_of
from hivemind.ledger.contract import Batch
from hivemind.model.circuit import CircuitRecord
from hivemind.model.job import Job
from hivemind.model.run import Run, RunState, TaskRun, TaskState
from hivemind.state.state import State, definition_key
from hivemind.state.tables import Change

Level = Literal["info", "warning"]
_MEMBERS = 10
"""Of a fan-out, the failures of so many members are told one by one."""
_BAD = (RunState.FAILED, RunState.TIMED_OUT)


class JobHerald:
    def __init__(self, state: State, events: Proclaimer) -> None:
        self._state = state
        self._events = events

    def agreed(self, batch: Batch) -> None:
        """To be called after each batch, with the state's changes still there."""
        for change in self._state.changes:
            tell = _TELL.get(change.table)
            if tell is not None:
                tell(self, change)
        for project, job, why in self._state.work.unstarted:
            self._events.append("job.unstarted", why, level="warning", project=project, name=job)

    def _job(self, change: Change) -> None:
        old: Job | None = change.old
        new: Job | None = change.new
        about = new or old
        assert about, "a change has a before or an after"
        if old is None or new is None:
            verb, message = ("created", f"definition {about.number}") if new else ("removed", "")
        elif new.number != old.number:
            verb, message = "changed", f"definition {new.number}"
        elif new.paused != old.paused:
            verb, message = ("paused" if new.paused else "resumed"), ""
        else:
            return
        by = self._author(new) if new and verb in ("created", "changed") else ""
        self._events.append(f"job.{verb}", message, project=about.project, name=about.name, by=by)

    def _author(self, job: Job) -> str:
        return self._state.definition(job.id, job.number).by

    def _run(self, change: Change) -> None:
        old: Run | None = change.old
        new: Run | None = change.new
        if new is None:
            return
        if old is None or old.state is not new.state:
            if new.state is RunState.QUEUED:
                return
            by = new.marks[-1].by if new.marks else ""
            if new.state is RunState.RUNNING:
                again = old is not None and old.state.ended
                self._tell(new, "retried" if again else "started", _cause(new), by=by or new.start.by)
            else:
                verb = str(new.state).replace(" ", "-")
                self._tell(new, verb, new.reason, warning=new.state in _BAD, by=by)
        elif new.late and not old.late:
            self._tell(new, "late", "its deadline has passed", warning=True)
        elif new.paused != old.paused:
            self._tell(
                new, "paused" if new.paused else "unpaused", "", by=new.marks[-1].by if new.marks else ""
            )

    def _task(self, change: Change) -> None:
        old: TaskRun | None = change.old
        new: TaskRun | None = change.new
        if old is None or new is None or old.state is new.state:
            return
        if new.state.failure:
            self._failed(new)
        elif old.state is TaskState.RUNNING and not new.state.decided and new.attempts:
            last = new.attempts[-1]
            why = last.reason or (f"exit code {last.exit_code}" if last.exit_code else last.cause)
            self._tell_task(new, "task.retried", f"attempt {last.number}: {why}")
        elif new.state is TaskState.BLOCKED and self._role(new) == "approval":
            self._tell_task(new, "task.approval-wanted", new.reason)

    def _failed(self, task: TaskRun) -> None:
        if self._role(task) in ("group", "fan-out"):
            return
        if is_member(task.path):
            tally = self._state.work.families.tally(task.run, parent_of(task.path))
            if tally.get(TaskState.FAILED, 0) > _MEMBERS:
                return
        self._tell_task(task, f"task.{str(task.state).replace(' ', '-')}", task.reason, warning=True)

    def _role(self, task: TaskRun) -> str:
        run = self._state.runs[task.run]
        try:
            found = self._state.definitions[definition_key(run.job, run.definition)]
            return Plan.of(found.spec).role(task.path)
        except (KeyError, HivemindError):
            return ""

    def _circuit(self, change: Change) -> None:
        old: CircuitRecord | None = change.old
        new: CircuitRecord | None = change.new
        if new is None or (old.state if old else "closed") == new.state or new.state == "half-open":
            return
        level: Level = "warning" if new.state == "open" else "info"
        verb = "opened" if new.state == "open" else "closed"
        self._events.append(f"circuit.{verb}", new.reason, level=level, project=new.project, name=new.name)

    def _tell(self, run: Run, verb: str, message: str, *, warning: bool = False, by: str = "") -> None:
        level: Level = "warning" if warning else "info"
        self._events.append(f"run.{verb}", message, level=level, project=run.project, name=run.name, by=by)

    def _tell_task(self, task: TaskRun, type: str, message: str, *, warning: bool = False) -> None:
        run = self._state.runs[task.run]
        level: Level = "warning" if warning else "info"
        self._events.append(type, message, level=level, project=run.project, name=f"{run.name}/{task.path}")


def _cause(run: Run) -> str:
    """`by schedule 0`."""
    return "" if run.start.kind == "person" else f"by {run.start.told}"


_TELL = {
    "jobs": JobHerald._job,
    "runs": JobHerald._run,
    "task_runs": JobHerald._task,
    "circuits": JobHerald._circuit,
}
