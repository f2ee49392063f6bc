"""Words that may mean a job by its name, or a file that defines one."""

from __future__ import annotations

from hivemind.cli.context import Context
from hivemind.cli.jobfile import load
from hivemind.errors import Invalid
from hivemind.model.job import JobManifest

_SUFFIXES = (".yaml", ".yml", ".json", ".py")


def is_file(word: str) -> bool:
    """Names of jobs have neither slashes nor suffixes."""
    return word == "-" or "/" in word or word.endswith(_SUFFIXES)


def only_job(context: Context, path: str) -> tuple[JobManifest, Context]:
    """The one job that a file defines, and the command in the project that the file names."""
    found = load([path], context.project)
    if len(found) != 1 or found[0].manifest is None:
        names = ", ".join(job.manifest.name for job in found if job.manifest)
        raise Invalid(
            f"{path} defines several jobs: {names}",
            hint=f"put them first: hivemind job put {path}, then run one by its name",
        )
    return found[0].manifest, within(context, found[0].project)


def within(context: Context, project: str) -> Context:
    """The same command in another project."""
    if project == context.project:
        return context
    return Context(context.args.altered(project=project), context.terminal, context.hive)
