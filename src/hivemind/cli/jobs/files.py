"""Definitions of jobs in files: YAML, JSON, or Python that declares them."""

from __future__ import annotations

from hivemind.cli.jobfile import load, read, refuse
from hivemind.cli.yaml12 import Located
from hivemind.errors import Invalid
from hivemind.model.job import JobManifest
from hivemind.model.names import DEFAULT_PROJECT

SUFFIXES = (".yaml", ".yml", ".json", ".py")


def is_file(word: str) -> bool:
    """Whether a word that may name a job or a file names a file."""
    return word == "-" or "/" in word or word.endswith(SUFFIXES)


def read_jobs(path: str) -> list[JobManifest]:
    """All jobs of a file. Raises `Invalid` that shows each mistake where it stands."""
    return [job.manifest for job in load([path]) if job.manifest is not None]


def read_job(path: str) -> JobManifest:
    """The only one of a file."""
    found = read_jobs(path)
    if len(found) > 1:
        names = ", ".join(manifest.name for manifest in found)
        raise Invalid(
            f"{path} defines several jobs: {names}",
            hint=f"put them first: hivemind job put {path}, then run one by its name",
        )
    return found[0]


def read_located(located: Located, source: str) -> JobManifest:
    """One document. What `hivemind get job -o yaml` prints is read, too."""
    job = read(located, source, DEFAULT_PROJECT)
    refuse(list(job.mistakes))
    assert job.manifest is not None
    return job.manifest
