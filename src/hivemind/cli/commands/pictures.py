"""`hivemind job graph` and `gantt`: runs, jobs and files as pictures."""

from __future__ import annotations

from collections.abc import Callable

from hivemind.cli.context import Context
from hivemind.cli.jobs import exports, gantt, graph, tree
from hivemind.cli.jobs.canvas import Canvas
from hivemind.cli.jobs.following import INTERRUPTED, leaving
from hivemind.cli.jobs.marks import marks_for, painted
from hivemind.cli.jobs.naming import is_file, only_job
from hivemind.cli.jobs.shape import Shape, shape_of
from hivemind.cli.jobs.watched import Watched, exit_code, now_ms
from hivemind.errors import Invalid, NotFound, nearest
from hivemind.model.run import RunDocument

Draw = Callable[[Watched], list[str]]


def draw_graph(context: Context) -> int:
    args = context.args
    shape, name, run = _meant(context, args.what)
    if args.watch:
        if run is None:
            raise Invalid(f"{args.what} is no run, so nothing changes", hint="leave out --watch")
        return _watch(context, run, lambda watched: _drawn(context, watched.shape, name))
    for line in _drawn(context, shape, name):
        context.print(line)
    return 0


def _meant(context: Context, word: str) -> tuple[Shape, str, RunDocument | None]:
    """A file; a job of that name, as it is defined now; or a run."""
    if is_file(word):
        manifest, _ = only_job(context, word)
        return shape_of(manifest.spec), manifest.name, None
    hive, project = context.hive, context.project
    try:
        job = hive.jobs.get(word, project)
    except NotFound:
        pass
    else:
        if not context.args.watch:
            return shape_of(job.spec), job.name, None
    try:
        run = hive.runs.get(word, project)
    except NotFound as error:
        known = [job.name for job in hive.jobs.list(project)]
        raise NotFound(f"there is no job or run {word!r}", hint=nearest(word, known) or error.hint) from None
    return Watched(context, run).read().shape, run.name, run


def _drawn(context: Context, shape: Shape, name: str) -> list[str]:
    terminal, style = context.terminal, context.args.format
    marks, now = marks_for(terminal, ascii=bool(context.args.ascii)), now_ms()

    def paint(text: str, state: str) -> str:
        return painted(terminal, text, state)

    if style == "mermaid":
        return exports.mermaid(shape)
    if style == "dot":
        return exports.dot(shape, name)
    width = terminal.width if terminal.width < 10**5 else 120
    boxes = graph.draw(shape, marks, width, paint, now) if style != "tree" else None
    if boxes is None:
        if style == "boxes":
            raise Invalid(
                "the graph is too wide for this terminal", hint="--format tree fits, or make it wider"
            )
        return tree.lines(shape, marks, width, paint, now)
    told = graph.legend(shape, marks)
    return [*boxes, "", told] if told else boxes


def draw_gantt(context: Context) -> int:
    run = context.hive.runs.get(context.args.run, context.project)
    if context.args.watch:
        return _watch(context, run, lambda watched: _bars(context, watched))
    for line in _bars(context, Watched(context, run).read()):
        context.print(line)
    return 0


def _bars(context: Context, watched: Watched) -> list[str]:
    terminal, now = context.terminal, now_ms()
    marks = marks_for(terminal, ascii=bool(context.args.ascii))

    def paint(text: str, state: str) -> str:
        return painted(terminal, text, state)

    head = tree.headline(watched.run, now)
    return [head, *gantt.lines(watched.run, watched.shape, marks, terminal.width, paint, now)]


def _watch(context: Context, run: RunDocument, draw: Draw) -> int:
    """Painted over until the run has ended; the last picture stays."""
    watched = Watched(context, run)
    try:
        with Canvas(context.terminal) as canvas:
            for _ in watched.changes():
                if canvas.animated:
                    canvas.paint([tree.headline(watched.run, now_ms()), *draw(watched)])
            canvas.clear()
    except KeyboardInterrupt:
        context.note(leaving(run.name))
        return INTERRUPTED
    for line in draw(watched):
        context.print(line)
    return exit_code(watched.run)
