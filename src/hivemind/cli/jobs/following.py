"""Following a run until it has ended: a live tree on a terminal, a line for each ending elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from hivemind.cli.context import Context
from hivemind.cli.jobs import tree
from hivemind.cli.jobs.canvas import Canvas
from hivemind.cli.jobs.marks import marks_for, painted, span
from hivemind.cli.jobs.watched import Watched, exit_code, now_ms
from hivemind.cli.tables import printable
from hivemind.errors import HivemindError
from hivemind.model.run import RunDocument, TaskRunDocument

INTERRUPTED = 130
_TAIL = 10
"""Lines of the log of a task that failed."""
_FAILURES = ("failed", "timed out", "lost")
_DECIDED = ("succeeded", *_FAILURES, "canceled", "skipped")


def follow(context: Context, run: RunDocument, since: int = 0) -> int:
    """Until it has ended; the exit code that says how. Ctrl-C leaves it going. `since`: what ended up to then (ms) is
    not told again."""
    watched = Watched(context, run)
    try:
        with Canvas(context.terminal) as canvas:
            teller = _Teller(context, canvas, watched, since)
            for changed in watched.changes():
                teller.tell(changed)
            canvas.clear()
    except KeyboardInterrupt:
        context.note(leaving(run.name))
        return INTERRUPTED
    finish(context, watched)
    return exit_code(watched.run)


def leaving(name: str) -> str:
    return (
        f"\n{name} goes on. Cancel it: hivemind job cancel {name}; look again: hivemind job status -w {name}"
    )


def finish(context: Context, watched: Watched) -> None:
    """How it ended: the tree on a terminal, one line elsewhere."""
    terminal, now = context.terminal, now_ms()
    marks = marks_for(terminal, ascii=bool(context.args.get("ascii")))
    paint = _paint(context)
    head = tree.headline(watched.run, now)
    if terminal.interactive:
        for line in tree.lines(watched.shape, marks, terminal.width, paint, now):
            context.print(line)
    context.print(paint(head, watched.run.state))
    for name, value in watched.run.outputs.items():
        context.print(f"  {name} = {printable(str(value))}")
    if watched.run.state not in ("succeeded", "canceled", "skipped"):
        context.note(
            f"{terminal.paint('hint:', 'bold')} hivemind job logs {watched.run.name} shows what its tasks wrote;"
            f" hivemind job retry {watched.run.name} goes on from what failed"
        )


def _paint(context: Context) -> tree.Paint:
    return lambda text, state: painted(context.terminal, text, state)


class _Teller:
    def __init__(self, context: Context, canvas: Canvas, watched: Watched, since: int) -> None:
        self._context = context
        self._since = since
        self._canvas = canvas
        self._watched = watched
        self._told: dict[str, tuple[str, int]] = {}
        self._marks = marks_for(context.terminal, ascii=bool(context.args.get("ascii")))

    def tell(self, changed: Iterable[TaskRunDocument]) -> None:
        for task in changed:
            self._transition(task)
        if self._canvas.animated:
            now, width = now_ms(), max(self._context.terminal.width - 1, 20)
            shown = tree.lines(self._watched.shape, self._marks, width, _paint(self._context), now)
            self._canvas.paint([tree.headline(self._watched.run, now), *shown])

    def _transition(self, task: TaskRunDocument) -> None:
        """On a terminal only failures stay; elsewhere each ending, and what began beside members of fan-outs."""
        state = (task.state, task.attempt)
        if self._told.get(task.path) == state:
            return
        self._told[task.path] = state
        if 0 < task.ended <= self._since and task.state in _DECIDED:
            return
        leaf = task.role in ("task", "job", "approval", "fan-out")
        failed = task.state in _FAILURES and leaf
        if failed and task.role == "task":
            self._canvas.say(self._failure(task))
        elif task.role == "approval" and task.state == "blocked":
            self._canvas.say([self._line(task), self._how_to_answer(task)])
        elif not self._canvas.animated and leaf and self._telling(task):
            self._canvas.say([self._line(task)])

    def _telling(self, task: TaskRunDocument) -> bool:
        if task.state == "blocked" and task.attempts:
            return True
        if task.path.endswith("]") and task.state == "succeeded":
            return False
        begun = task.state == "running" and task.role != "fan-out" and not task.path.endswith("]")
        return task.state in _DECIDED or begun

    def _line(self, task: TaskRunDocument) -> str:
        took = f"  {span(task.ended - task.started)}" if task.started and task.ended else ""
        told = "".join(f"  {printable(part)}" for part in (task.child, task.reason) if part)
        return f"{task.path}: {task.state}{took}{told}"

    def _how_to_answer(self, task: TaskRunDocument) -> str:
        paint, run = self._context.terminal.paint, self._watched.run.name
        return f"  {paint('|', 'dim')} hivemind job approve {run} {task.path}, or with --reject"

    def _failure(self, task: TaskRunDocument) -> list[str]:
        """The line, and the end of what it wrote."""
        paint = self._context.terminal.paint
        lines = [paint(self._line(task), "red")]
        try:
            written = list(
                self._context.hive.runs.logs(
                    self._watched.run.id, self._context.project, task=task.path, attempt=task.attempt,
                    tail=_TAIL,
                )
            )  # fmt: skip
        except HivemindError:  # its log is a courtesy here: the failure itself was told
            written = []
        return [*lines, *(f"  {paint('|', 'dim')} {printable(entry.text)}" for entry in written)]
