"""A docker engine of the tests' own: its data, its sockets, its network namespace, its control group.

    python -m tests.docker_engine HOME     waits for the end of standard input, then clears HOME away

Each engine has such a guard, so that nothing of it outlives the tests, even when they are killed. What a killed guard
left is found by the next run.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
_PREFIX = "hm-docker-"
_PATIENCE = 60.0
_CGROUPS = Path("/sys/fs/cgroup")


class DockerEngine:
    """`netns`: the path of the network namespace that it makes its networks in; one of its own when empty."""

    def __init__(self, home: Path, netns: str = "") -> None:
        self.home = home
        self.socket = str(home / "docker.sock")
        self.netns = netns or f"/run/netns/{home.name}"
        self._own_netns = not netns
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, live_restore: bool = True) -> None:
        """Returns once it answers."""
        self.home.mkdir(exist_ok=True)
        if self._own_netns and not os.path.exists(self.netns):
            subprocess.run(["ip", "netns", "add", self.home.name], check=True)
            subprocess.run(["ip", "-n", self.home.name, "link", "set", "lo", "up"], check=True)
        group = _group(self.home)
        group.mkdir(exist_ok=True)
        (self.home / "daemon.json").write_text(json.dumps({"live-restore": live_restore}))
        command = [
            *("nsenter", f"--net={self.netns}", "unshare", "--mount", "--propagation", "slave", "dockerd"),
            *("--host", f"unix://{self.socket}", "--config-file", str(self.home / "daemon.json")),
            *("--data-root", str(self.home / "data"), "--exec-root", str(self.home / "exec")),
            *("--pidfile", str(self.home / "pid"), "--cgroup-parent", f"/{self.home.name}"),
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--storage-driver", "overlay2"),
            *("--bridge", "none", "--userland-proxy=false", "--log-level", "warn"),
        ]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
            )
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd does not answer:\n{(self.home / 'log').read_text()[-3000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    @property
    def api(self) -> tuple[int, ...]:
        """The newest version of the API that it speaks."""
        return tuple(int(part) for part in self.ask("GET", "/version")["ApiVersion"].split("."))

    def ask(self, method: str, path: str) -> Any:
        """One call of its API."""
        done = subprocess.run(
            ["curl", "-sS", "-X", method, "--unix-socket", self.socket, f"http://docker/v1.41{path}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return json.loads(done.stdout) if done.stdout.strip() else None

    def reap(self) -> None:
        """Waits for its process, which was killed."""
        if self._process is not None:
            self._process.wait(_PATIENCE)

    def _end(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)
        self._process.wait(_PATIENCE)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.socket)
                probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return probe.recv(64).startswith(b"HTTP/1.0 200")
            except OSError:
                return False


@contextmanager
def engine(netns: str = "") -> Iterator[DockerEngine]:
    """One that runs, and is gone afterwards."""
    sweep()
    home = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = (home / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    guard = subprocess.Popen(
        [sys.executable, "-m", "tests.docker_engine", str(home)],
        cwd=_ROOT, stdin=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    made = DockerEngine(home, netns)
    try:
        made.start()
        yield made
    finally:
        clear(home)
        made.reap()
        lock.close()
        guard.communicate()


def sweep() -> None:
    """Clears away what killed tests left."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/lock"):
        try:
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                clear(lock.parent)
        except (BlockingIOError, FileNotFoundError):
            continue


def clear(home: Path) -> None:
    """Kills everything that the engine started and itself, and removes its traces. Idempotent."""
    from hivemind.drivers.runtimes.cgroups import Cgroup

    Cgroup(home.name).remove()
    if os.path.exists(f"/run/netns/{home.name}"):
        subprocess.run(["ip", "netns", "del", home.name], check=True)
    # What it mounted was mounted in its own mount namespace, which has gone with its processes.
    shutil.rmtree(home, ignore_errors=True)


def _group(home: Path) -> Path:
    """The control group in which the engine itself is, its containers being in groups below."""
    root = _CGROUPS if (_CGROUPS / "cgroup.controllers").exists() else _CGROUPS / "pids"
    (root / home.name).mkdir(exist_ok=True)
    return root / home.name / "engine"


def main(home: Path) -> None:
    sys.stdin.buffer.read()
    if home.exists():
        clear(home)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
