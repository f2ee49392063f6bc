"""Slurm, by its own commands: `sbatch`, `squeue`, `scontrol`, `scancel`. Which cluster, its `slurm.conf` says."""

from __future__ import annotations

import asyncio
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from hivemind.drivers.executors.contract import Job, Progress
from hivemind.drivers.executors.engine import Engine
from hivemind.drivers.executors.launch import exited, place
from hivemind.errors import Invalid, Unavailable, Unsupported

_COMMANDS = ("sbatch", "squeue", "scontrol", "scancel")
_PATIENCE = 60.0
_FIELD = re.compile(r"(\w+)=(\S*)")
_WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
_RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"})
_CAUSES: Mapping[str, tuple[str, str]] = {
    "TIMEOUT": ("timeout", "Slurm's time limit was over"),
    "DEADLINE": ("timeout", "Slurm's deadline was over"),
    "OUT_OF_MEMORY": ("oom", "it needed more memory than it had asked for"),
    "NODE_FAIL": ("lost", "its node failed"),
    "BOOT_FAIL": ("lost", "its node did not start"),
    "REVOKED": ("lost", "Slurm revoked it"),
    "PREEMPTED": ("preempted", "Slurm preempted it"),
    "CANCELLED": ("canceled", "it was canceled in Slurm"),
}
_BUSY = ("Unable to contact slurm controller", "Socket timed out", "Connection refused", "Zero Bytes were transmitted",
         "Unable to connect", "currently unavailable", "Communication connection failure")  # fmt: skip


class Slurm(Engine):
    """`environment` replaces that of the daemon; tests name their own cluster in it."""

    name = "slurm"
    options = frozenset({
        "partition", "account", "qos", "constraint", "reservation", "nodelist", "exclude", "licenses", "gres", "nice",
        "wckey", "exclusive",
    })  # fmt: skip

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        # Variables such as SBATCH_PARTITION would change what is submitted, unseen.
        self._environment = {
            name: value
            for name, value in given.items()
            if name == "SLURM_CONF" or not name.startswith(("SBATCH_", "SLURM_", "SQUEUE_", "SCANCEL_"))
        }

    async def open(self) -> None:
        missing = [one for one in _COMMANDS if not shutil.which(one, path=self._environment.get("PATH"))]
        if missing:
            raise Unsupported(
                f"Slurm is not on this node: {', '.join(missing)} cannot be found",
                hint="apt-get install slurm-client, with the cluster's slurm.conf and munge key; or let tasks that "
                "need it run where it is: constraints",
            )
        try:
            await self._run("scontrol", "ping")
        except Invalid as error:
            raise Unsupported(
                f"Slurm does not work on this node: {error.message}", hint="see: scontrol ping"
            ) from None

    async def _hand_over(self, id: str, job: Job, script: Path) -> str:
        said = await self._run(
            "sbatch",
            "--parsable",
            f"--job-name={_job_name(id)}",
            "--no-requeue",  # an attempt is made once
            "--export=NIL",
            f"--chdir={job.directory}",
            f"--output={place(job) / 'slurm.log'}",
            f"--nodes={job.nodes}",
            "--ntasks-per-node=1",
            f"--cpus-per-task={max(1, math.ceil(job.cpus))}",
            *([f"--mem={math.ceil(job.memory / 2**20)}M"] if job.memory else []),
            *([f"--gres=gpu:{job.gpus}"] if job.gpus else []),
            *([f"--time={math.ceil((job.timeout + job.grace) / 60) + 1}"] if job.timeout else []),
            *_options(job),
            str(script),
        )
        return said.strip().partition(";")[0]

    async def _known(self, id: str, job: Job) -> str | None:
        said = await self._run(
            "squeue", "--noheader", "--states=all", f"--name={_job_name(id)}", "--format=%A"
        )
        return said.split()[0] if said.split() else None

    async def _standing(self, id: str, job: Job, name: str) -> Progress | None:
        try:
            said = await self._run("scontrol", "--oneliner", "show", "job", name)
        except Invalid as error:
            if "Invalid job id" in error.message:
                return None
            raise Unavailable(error.message, hint=error.hint) from None
        fields = dict(_FIELD.findall(said))
        if fields.get("JobName") != _job_name(id):
            return None  # numbers are used again after a while
        return _progress(fields)

    async def _remove(self, id: str, job: Job, name: str, *, kill: bool) -> None:
        """A graceful end is the script's affair: Slurm has one time of grace for all."""
        states = ("--state=PENDING",) if not kill else ("--full", "--signal=KILL")
        await self._run("scancel", "--quiet", *states, name)
        if kill:
            await self._run("scancel", "--quiet", name)

    def _gang(self, job: Job) -> tuple[str, ...]:
        if job.nodes == 1:
            return ()
        ranked = 'HIVEMIND_RANK=$SLURM_PROCID HIVEMIND_SIZE=$SLURM_NTASKS exec "$@"'
        gang = (
            "srun",
            "--export=ALL",
            f"--ntasks={job.nodes}",
            "--ntasks-per-node=1",
            "--kill-on-bad-exit=1",
        )
        return (*gang, "--", "/bin/sh", "-c", f"export HIVEMIND_RANK HIVEMIND_SIZE; {ranked}", "sh")

    async def _run(self, *command: str) -> str:
        """What it says. Raises `Unavailable` when Slurm does not answer, `Invalid` for what it refuses."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), _PATIENCE)
        except TimeoutError:
            raise Unavailable(
                f"Slurm does not answer: {command[0]} takes more than {_PATIENCE:g} s"
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            return out.decode(errors="replace")
        said = " ".join((err or out).decode(errors="replace").split())[:500]
        if any(one in said for one in _BUSY):
            raise Unavailable(f"Slurm does not answer: {said}", hint="see: scontrol ping")
        raise Invalid(
            f"Slurm refuses: {said}", hint="see what there is with sinfo, and the options of the task"
        )


def _job_name(id: str) -> str:
    return f"hivemind-{id}"


def _options(job: Job) -> list[str]:
    flags = []
    for name, value in sorted(job.options.items()):
        if isinstance(value, bool):
            flags += [f"--{name}"] if value else []
        else:
            flags.append(f"--{name}={value}")
    return flags


def _progress(fields: Mapping[str, str]) -> Progress:
    state, nodes = fields.get("JobState", ""), fields.get("NodeList", "")
    where = (nodes,) if nodes and nodes != "(null)" else ()
    if state in _WAITING:
        return Progress(standing="waiting", reason=f"Slurm: {fields.get('Reason', '')}")
    if state in _RUNNING:
        return Progress(standing="running", nodes=where)
    code, _, number = fields.get("ExitCode", "0:0").partition(":")
    if state in _CAUSES:
        cause, reason = _CAUSES[state]
        return Progress(standing="ended", cause=cause, reason=reason, nodes=where)  # type: ignore[arg-type]
    if number not in ("", "0"):
        return exited(128 + int(number), where)
    return exited(int(code) if code.isdecimal() else 1, where)
