"""A whole Slurm on one machine, of the tests' own: munge, a controller and one daemon for each of its nodes, with
private ports of the loopback, keys and directories. Nothing of it runs on, even when the tests are killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_CONFIGURATION = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={place}/munge.socket
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool.%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.%n.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
KillWait=2
GresTypes=gpu
PropagateResourceLimits=NONE
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=closed Nodes=ALL MaxTime=INFINITE State=DOWN
"""
_NODES = ("one", "two")
_DIES_WITH_PARENT = 1


def _prepare_child() -> None:
    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)


class PrivateSlurm:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.environment = {
            "PATH": os.environ["PATH"] + ":/usr/sbin",
            "SLURM_CONF": str(place / "slurm.conf"),
            "SBATCH_PARTITION": "closed",  # of the environment of whoever starts the daemon: must not count
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        self._configure()
        self._spawn("munge", "munged", "--foreground", "--force", f"--key-file={self.place}/munge.key",
                    f"--socket={self.place}/munge.socket", f"--pid-file={self.place}/munge.pid",
                    f"--log-file={self.place}/munge.log", f"--seed-file={self.place}/munge.seed")  # fmt: skip
        self._until(lambda: (self.place / "munge.socket").exists(), "munge")
        self.start_controller()
        for node in _NODES:
            self._spawn(node, "slurmd", "-D", "-N", node)
        self._until(
            lambda: self.run("sinfo", "-h", "-o", "%t", "-p", "main").split() == ["idle"], "its nodes"
        )

    def start_controller(self) -> None:
        self._spawn("slurmctld", "slurmctld", "-D")
        self._until(lambda: " is UP" in self.run("scontrol", "ping"), "slurmctld")

    def stop_controller(self) -> None:
        self._end("slurmctld")

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout

    def stop(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.run("scancel", "--signal=KILL", "--full", "--state=RUNNING")
        for name in reversed(list(self._processes)):
            self._end(name)
        self._end_steps()

    def _end_steps(self) -> None:
        """What cares for a job lives on without its daemon, waiting for it. It is known by its files."""
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if any(os.readlink(one).startswith(f"{self.place}/") for one in (process / "fd").iterdir()):
                    os.kill(int(process.name), signal.SIGKILL)

    def _configure(self) -> None:
        free = [socket.socket() for _ in range(1 + len(_NODES))]
        for one in free:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in free]
        for one in free:
            one.close()
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=1000"
            for name, port in zip(_NODES, ports[1:], strict=True)
        )
        text = _CONFIGURATION.format(host=socket.gethostname(), ports=ports, place=self.place, nodes=nodes)
        (self.place / "slurm.conf").write_text(text)
        (self.place / "state").mkdir()
        key = self.place / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))

    def _spawn(self, name: str, *command: str) -> None:
        log = (self.place / f"{name}.out").open("ab")
        self._processes[name] = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_prepare_child,
        )
        log.close()

    def _end(self, name: str) -> None:
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _until(self, ready: object, what: str) -> None:
        end = time.monotonic() + 30
        while not ready():  # type: ignore[operator]
            dead = [name for name, one in self._processes.items() if one.poll() is not None]
            if dead or time.monotonic() > end:
                logs = "\n".join(
                    f"== {log.name}\n{log.read_text(errors='replace')[-3000:]}"
                    for log in sorted((*self.place.glob("*.log"), *self.place.glob("*.out")))
                )
                raise RuntimeError(f"{what} does not come up; dead: {dead}\n{logs}")
            time.sleep(0.1)


@contextlib.contextmanager
def running() -> Iterator[PrivateSlurm]:
    place = Path(tempfile.mkdtemp(prefix="hm-slurm-"))
    one = PrivateSlurm(place)
    try:
        one.start()
        yield one
    finally:
        one.stop()
        shutil.rmtree(place, ignore_errors=True)
