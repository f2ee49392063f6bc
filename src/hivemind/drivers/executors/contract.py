"""What an engine must do that runs tasks for the hive.

A task goes to it as one job, which is known by the id of the attempt: the engine's own job carries that id in its name,
so that it is found again after a crash and never submitted twice. Everything is safe to repeat.

The engine's machines must see `Job.directory` under the same path, as clusters with a shared file system do: what is to
be run, its variables and its output are files there, private to the user of the daemon, because command lines and the
tables of engines can be read by everyone.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

Stream = Literal["stdout", "stderr"]
Standing = Literal["waiting", "running", "ended"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    argv: tuple[str, ...]
    """The first is found by PATH on the machine that runs it."""
    env: dict[str, str] = {}
    """May hold secrets."""
    workdir: str = ""
    """Where it runs; empty: in `directory`."""
    directory: str
    """Exists, belongs to this job alone, and is seen by the engine's machines."""
    cpus: float = 1.0
    memory: int = 0
    """Bytes; 0: what the engine gives."""
    gpus: int = 0
    nodes: int = 1
    timeout: float = 0.0
    """Seconds; 0: none. The engine ends it then, as `timeout`."""
    grace: float = 10.0
    """Seconds between asking it to stop and killing it."""
    options: dict[str, Any] = {}
    """As the task gives them: `Executor.options` of them are understood, others refused."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How a job stands."""

    standing: Standing
    cause: Literal["exit", "signal", "oom", "timeout", "start", "lost", "preempted", "canceled"] = "exit"
    """Of an ended one; `start`: it never began; `lost`: the engine knows no more than that it is gone."""
    exit_code: int | None = None
    """Of an ended one; 128 + n after signal n."""
    reason: str = ""
    """For people; of a waiting one why it waits."""
    nodes: tuple[str, ...] = ()
    """Where it runs or ran, as the engine calls them."""


class Executor(Protocol):
    name: str
    options: frozenset[str]

    async def open(self) -> None:
        """Raises `Unsupported` that names what is missing and how to get it."""

    async def close(self) -> None:
        """Its jobs go on."""

    async def submit(self, id: str, job: Job) -> str:
        """Hands it over, unless that was done already; what the engine calls it, for people. Raises `Invalid` for
        what the engine refuses and `Unavailable` when it does not answer. After that, or a crash, `find` tells."""

    async def find(self, id: str, job: Job) -> str | None:
        """What the engine calls it; None: it was never handed over, or is long forgotten."""

    async def poll(self, id: str, job: Job) -> Progress:
        """How it stands. Raises `Unavailable` when the engine does not answer, which says nothing of the job."""

    async def wait(self, id: str, job: Job) -> Progress:
        """Until it has ended, however long the engine does not answer meanwhile."""

    async def cancel(self, id: str, job: Job, *, kill: bool = False) -> None:
        """Asks it to stop and kills it after `Job.grace`, or at once. Does not wait. Of one that has ended, or was
        never handed over, nothing is done."""

    async def output(self, id: str, job: Job, stream: Stream, offset: int = 0) -> bytes:
        """What it wrote from that byte on, as far as it is known by now; at most 1 MiB at a time."""

    async def forget(self, id: str, job: Job) -> None:
        """Of one that has ended: the engine need not remember it."""
