"""`hivemind job validate` and `hivemind job schema`."""

from __future__ import annotations

from hivemind.cli.context import Context
from hivemind.cli.jobfile import Job, Mistake, examine
from hivemind.cli.output import show_data
from hivemind.errors import Invalid


def validate(context: Context) -> int:
    """0, or 2 when there are mistakes."""
    paths = [str(path) for path in context.args.file]
    found = [(path, _examined(path, context.project)) for path in paths]
    mistakes = [mistake for _, jobs in found for job in jobs for mistake in job.mistakes]
    if context.args.output in ("json", "yaml"):
        show_data(context, {"ok": not mistakes, "mistakes": [_plain(mistake) for mistake in mistakes]})
        return Invalid.exit_code if mistakes else 0
    for _, jobs in found:
        for job in jobs:
            for mistake in job.mistakes:
                context.print(mistake.shown())
            if job.manifest is not None:
                count = len(job.manifest.spec.tasks)
                context.print(
                    f"{job.source}: job {job.manifest.name} is well ({count} task{'s' * (count != 1)})"
                )
    if mistakes:
        context.note(f"{len(mistakes)} mistake{'s' * (len(mistakes) != 1)}")
    return Invalid.exit_code if mistakes else 0


def _examined(path: str, project: str) -> list[Job]:
    """A file that cannot be read is a mistake beside the others."""
    try:
        return list(examine(path, project))
    except Invalid as error:
        return [Job(None, project, path, (Mistake(path, 1, 1, error.message, error.hint),))]


def _plain(mistake: Mistake) -> dict[str, object]:
    return {
        "file": mistake.source,
        "line": mistake.line,
        "column": mistake.column,
        "message": mistake.message,
        "hint": mistake.hint,
    }


def schema(context: Context) -> None:
    from hivemind.jobs.definition.schema import document, text

    context.print(text(document()).rstrip("\n"))
