"""What the daemons of a hive of four hold in memory, beside one that is alone.

Real daemons with the process runtime on loopback, each with its defaults, started, joined and left alone for a while.
The lone one is measured before it hears of any other; in the end a node is cordoned and uncordoned, a thousand times in
all.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from bench import memory
from bench.agreement_hive import free_ports
from bench.agreement_node import LOOPBACK
from bench.node import COMMAND, ENVIRONMENT
from bench.row import Row, told, within
from hivemind.client import Hivemind
from hivemind.errors import HivemindError

NOTE = """\
What is added when a node has company: the code of agreement, channels, membership, discovery and first contacts, 4 MB,
and what they remember. Left alone for ten minutes the four grew by 0.3 MB, nearly all of it in the first five. With
operations they grow ever more slowly: by 2.4 MB with the first thousand and 1.3 MB with the second, in another run. In
Python's heap that is what was said about the last sequences, the signatures that were good, and the events, of which
10,000 are kept; where the rest of it is was not looked into. The budget is for nodes that are left alone.
"""
NODES = 4
REST = 20.0
_LATE = 120.0
LIMIT = 50.0
OPERATIONS = 1000


class _Daemon:
    def __init__(self, home: Path, number: int, port: int) -> None:
        self._place = ("--data-dir", f"{home}/{number}", "--run-dir", f"{home}/run{number}")
        self.host = f"unix://{home}/run{number}/hivemind.sock"
        options = ("--node-name", f"n{number}", "--runtime", "process", "--web-port", "0", "--dns-port", "0")
        self._log = (home / f"log{number}").open("wb")
        self._process = subprocess.Popen(
            (*COMMAND, "daemon", *self._place, *options, "--cluster-address", f"{LOOPBACK}:{port}"),
            env=ENVIRONMENT,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def cli(self, *words: str) -> str:
        environment = {**ENVIRONMENT, "HIVEMIND_HOST": self.host}
        return subprocess.run(
            (*COMMAND, *words), env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    def voters(self) -> int:
        """0: it does not answer."""
        try:
            with Hivemind(self.host) as hive:
                return sum(member.voter for member in hive.cluster.status().members)
        except (HivemindError, OSError):
            return 0

    def ready(self) -> bool:
        return subprocess.run(
            (*COMMAND, "cluster", "status"),
            env={**ENVIRONMENT, "HIVEMIND_HOST": self.host},
            capture_output=True,
        ).returncode == 0  # fmt: skip

    @property
    def megabytes(self) -> float:
        return memory.resident([self._process.pid]) / memory.MB

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()
        subprocess.run((*COMMAND, "daemon", "--destroy", *self._place), env=ENVIRONMENT, capture_output=True)


def _until(true: object, what: str) -> None:
    end = time.monotonic() + _LATE
    while not true():  # type: ignore[operator]
        if time.monotonic() > end:
            raise RuntimeError(f"it takes too long until {what}")
        time.sleep(0.2)


def _work(daemon: _Daemon) -> None:
    with Hivemind(daemon.host) as hive:
        for number in range(OPERATIONS):
            (hive.nodes.uncordon if number % 2 else hive.nodes.cordon)("n1")


def _measure(home: Path) -> list[Row]:
    daemons = [_Daemon(home, number, port) for number, port in enumerate(free_ports(NODES))]
    try:
        first, *others = daemons
        for daemon in daemons:
            _until(daemon.ready, "a daemon is ready")
        time.sleep(REST)
        alone = first.megabytes
        first.cli("cluster", "init", "--name", "bench")
        token = first.cli("cluster", "token", "create", "--uses", str(NODES))
        for daemon in others:
            daemon.cli("cluster", "join", token)
        _until(lambda: all(daemon.voters() == NODES for daemon in daemons), "all vote")
        time.sleep(REST)
        held = [daemon.megabytes for daemon in daemons]
        _work(first)
        time.sleep(REST)
        worked = max(daemon.megabytes for daemon in daemons)
    finally:
        for daemon in daemons:
            daemon.stop()
    each = ", ".join(f"{one:.1f}" for one in held)
    return [
        within("RSS of a daemon that is alone", alone, "MB", "-", None, LIMIT),
        within(f"RSS of the largest of {NODES} that are one hive", max(held), "MB", f"each: {each} MB", None, LIMIT),
        told("what a hive costs the daemon that founded it", held[0] - alone, "MB", "-", None),
        told(f"RSS of the largest after {OPERATIONS:,} operations", worked, "MB", "-", None),
    ]  # fmt: skip


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="hivemind-bench-", dir="/var/tmp") as home:
        os.chmod(home, 0o700)
        return _measure(Path(home))
