"""The workflow of one run. Everything it knows is in its book, so it can be made anew for each event."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.jobs.book import Book, Ended
from hivemind.jobs.plan import Plan
from hivemind.model.job import JobSpec
from hivemind.model.run import Run, TaskRun


def next_attempt(task: TaskRun) -> int:
    """The number that an attempt gets which is placed now. Ids of its allocations are derived from it."""
    return task.attempt + 1


def alarm(run: Run, spec: JobSpec) -> int:
    """When (ms) `Workflow.tick_run` has something to do, if nothing happens before; 0: never."""
    raise NotImplementedError


class Workflow:
    """Each method is one event; when it returns, all that follows from it is in the book. Events that are late,
    repeated or of an older attempt change nothing. Only what people ask for can be refused (`HivemindError`), and
    then nothing has changed: `approve`, `cancel_tasks`, `retry`. Whatever is wrong with the definition (an
    expression that fails, an output that is missing) fails the task that it is about."""

    def __init__(self, plan: Plan, book: Book) -> None: ...

    # What happens.

    def begin(self) -> None:
        """The run, which was queued, begins: it is running, and each task that needs nothing is queued."""
        raise NotImplementedError

    def placed(self, place: str, allocations: Sequence[str], nodes: Sequence[str]) -> bool:
        """The queued task got a place for each member of its gang, in order of their rank: it runs, and its attempt is
        `next_attempt` of what it was. False, and nothing changes, if it is not queued."""
        raise NotImplementedError

    def ended(self, place: str, attempt: int, rank: int, how: Ended) -> None:
        """Nothing of that member of that attempt runs any more. To be told once for each allocation of it, of whatever
        cause, halted ones too; the outcome is decided with the last. The first member that does not end well halts
        the others and says how the attempt ended; outputs are those of rank 0. Ranks that were told already, and
        attempts other than the running one, are ignored, so it does no harm to tell twice. When it returns, the book
        has the attempt among `TaskRun.attempts` if it was the last member."""
        raise NotImplementedError

    def fail(self, place: str, why: str) -> None:
        """The task, which is queued or blocked, can never begin: it fails without a further attempt."""
        raise NotImplementedError

    def child_ended(self, place: str, run: Run) -> None:
        """The run of another job, which the task at `place` waits for (`TaskRun.child`), has ended."""
        raise NotImplementedError

    def tick(self, place: str) -> None:
        """`TaskRun.due` has come: the next attempt is queued, an approval is decided by its default, or a group,
        fan-out or child run is stopped as timed out. Before its time nothing happens."""
        raise NotImplementedError

    def tick_run(self) -> None:
        """`alarm` has come: the run is stopped as timed out, or is late, which is told once."""
        raise NotImplementedError

    # What people ask for.

    def approve(self, place: str, approved: bool, by: str, comment: str = "") -> None:
        """Raises `NotFound`, `Conflict` if it does not wait for that, `Forbidden` if `by` is not who may."""
        raise NotImplementedError

    def cancel(self, why: str, by: str = "", *, kill: bool = False) -> None:
        """What has not begun is canceled, what runs is halted; then `finally` runs, and the run is canceled. A second
        time, `finally` is canceled, too. A run that was never begun ends at once; an ended one stays."""
        raise NotImplementedError

    def cancel_tasks(self, places: Sequence[str], why: str, by: str = "", *, kill: bool = False) -> None:
        """The same of some of its tasks and groups; the rest goes on. Raises `NotFound`."""
        raise NotImplementedError

    def pause(self, by: str = "") -> None:
        """Nothing further begins: what is queued becomes blocked and leaves the queue; what runs goes on."""
        raise NotImplementedError

    def unpause(self, by: str = "") -> None:
        raise NotImplementedError

    def retry(self, places: Sequence[str] = (), by: str = "") -> None:
        """The ended run goes on: what failed or was canceled, or with `places` these, is done again, and whatever
        needs it; outcomes and outputs of all else stay. Attempt numbers go on rising. Raises `Conflict` if the run
        has not ended or nothing of it failed, `NotFound`, and `Invalid` for places that cannot be begun with."""
        raise NotImplementedError
