"""The workflow of one run. Everything it knows is in its book, so it can be made anew for each event."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from hivemind.errors import NotFound
from hivemind.jobs.book import Book, Ended
from hivemind.jobs.plan import Plan
from hivemind.jobs.workflow import approvals, attempts, closing, needs, pausing, resuming, timing
from hivemind.jobs.workflow.beginning import go
from hivemind.jobs.workflow.stopping import cleaning, stop
from hivemind.jobs.workflow.turn import Turn
from hivemind.model.run import Run, RunState, TaskState


class Workflow:
    """Each method is one event; when it returns, all that follows from it is in the book. Events that are late,
    repeated or of an older attempt change nothing. Only what people ask for can be refused (`HivemindError`), and
    then nothing has changed: `approve`, `cancel_tasks`, `retry`. Whatever is wrong with the definition (an
    expression that fails, an output that is missing) fails the task that it is about."""

    def __init__(self, plan: Plan, book: Book) -> None:
        self._turn = Turn(plan, book)

    def _follow(self) -> None:
        """Until nothing more follows. One after the other, so that a chain of thousands is no deeper than one."""
        turn = self._turn
        while turn.fresh or turn.decided or turn.reopened:
            if turn.fresh:
                needs.look(turn, turn.fresh.popleft())
            elif turn.reopened:
                closing.look_again(turn, turn.reopened.pop())
            else:
                place = turn.decided.popleft()
                needs.follow(turn, place)
                closing.follow(turn, place)
        turn.made = 0

    # What happens.

    def begin(self) -> None:
        """The run, which was queued, begins: it is running, and each task that needs nothing is queued."""
        turn = self._turn
        if turn.run.state is RunState.QUEUED:
            go(turn, turn.found(""))
            turn.book.notify("started", "")
            self._follow()

    def placed(self, place: str, allocations: Sequence[str], nodes: Sequence[str]) -> bool:
        """The queued task got a place for each member of its gang, in order of their rank: it runs, and its attempt is
        `next_attempt` of what it was. False, and nothing changes, if it is not queued."""
        task = self._turn.book.get(place)
        if task is None or task.state is not TaskState.QUEUED:
            return False
        attempts.place(self._turn, task, allocations, nodes)
        return True

    def ended(self, place: str, attempt: int, rank: int, how: Ended) -> None:
        """Nothing of that member of that attempt runs any more. To be told once for each allocation of it, of whatever
        cause, halted ones too; the outcome is decided with the last. The first member that does not end well halts
        the others and says how the attempt ended; outputs are those of rank 0. Ranks that were told already, and
        attempts other than the running one, are ignored, so it does no harm to tell twice. When it returns, the book
        has the attempt among `TaskRun.attempts` if it was the last member."""
        task = self._turn.book.get(place)
        if task is None or task.state is not TaskState.RUNNING or task.attempt != attempt:
            return
        if rank < len(task.allocations) and rank not in task.ended_members:
            attempts.end(self._turn, task, rank, how)
            self._follow()

    def fail(self, place: str, why: str) -> None:
        """The task, which is queued or blocked, can never begin: it fails without a further attempt."""
        task = self._turn.book.get(place)
        if task is not None and task.state in (TaskState.QUEUED, TaskState.BLOCKED):
            self._turn.decide(task, TaskState.FAILED, why)
            self._follow()

    def child_ended(self, place: str, run: Run) -> None:
        """The run of another job, which the task at `place` waits for (`TaskRun.child`), has ended."""
        task = self._turn.book.get(place)
        if task is not None and task.state is TaskState.RUNNING and task.child == run.id:
            attempts.child_end(self._turn, task, run)
            self._follow()

    def tick(self, place: str) -> None:
        """`TaskRun.due` has come: the next attempt is queued, an approval is decided by its default, or a group
        or child run is stopped as timed out. Before its time nothing happens."""
        task = self._turn.book.get(place)
        if task is not None and 0 < task.due <= self._turn.now:
            timing.tick(self._turn, task)
            self._follow()

    def tick_run(self) -> None:
        """`alarm` has come: the run is stopped as timed out, or is late, which is told once."""
        timing.tick_run(self._turn)
        self._follow()

    # What people ask for.

    def approve(self, place: str, approved: bool, by: str, comment: str = "") -> None:
        """Raises `NotFound`, `Conflict` if it does not wait for that, `Forbidden` if `by` is not who may."""
        approvals.approve(self._turn, place, approved, by, comment)
        self._follow()

    def cancel(self, why: str, by: str = "", *, kill: bool = False) -> None:
        """What has not begun is canceled, what runs is halted; then `finally` runs, and the run is canceled. A second
        time, `finally` is canceled, too. A run that was never begun ends at once; an ended one stays."""
        turn = self._turn
        if turn.run.state.ended:
            return
        paused = turn.run.paused
        if paused:
            turn.book.put_run(replace(turn.run, paused=False))
        root = turn.found("")
        again = root.fate is TaskState.CANCELED or cleaning(turn, root)
        stop(turn, root, TaskState.CANCELED, why, by, kill=kill, also_finally=again)
        if paused:
            pausing.let_go(turn)  # a `finally` that was held up has its turn
        self._follow()

    def cancel_tasks(self, places: Sequence[str], why: str, by: str = "", *, kill: bool = False) -> None:
        """The same of some of its tasks and groups; the rest goes on. Raises `NotFound`."""
        turn = self._turn
        for place in places:
            if not place or turn.book.get(place) is None:
                raise NotFound(f"{turn.run.name} has no task {place}")
        for place in places:
            stop(turn, turn.found(place), TaskState.CANCELED, why, by, kill=kill)
        self._follow()

    def pause(self, by: str = "") -> None:
        """Nothing further begins: what is queued becomes blocked and leaves the queue; what runs goes on."""
        pausing.pause(self._turn, by)

    def unpause(self, by: str = "") -> None:
        pausing.unpause(self._turn, by)
        self._follow()

    def retry(self, places: Sequence[str] = (), by: str = "") -> None:
        """The ended run goes on: what failed or was canceled, or with `places` these, is done again, and whatever
        needs it; outcomes and outputs of all else stay. Attempt numbers go on rising. Raises `Conflict` if the run
        has not ended or nothing of it failed, `NotFound`, and `Invalid` for places that cannot be begun with."""
        resuming.resume(self._turn, places, by)
        self._follow()
