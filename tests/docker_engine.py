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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
_PREFIX = "hm-docker-"
_PATIENCE = 60.0
_CONTAINERD = """\
version = 2
root = "{home}/containerd"
state = "{home}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{home}/containerd.sock"
"""
_CGROUPS = Path("/sys/fs/cgroup")


class DockerEngine:
    """`netns`: the path of the network namespace that it makes its networks in; one of its own when empty."""

    def __init__(self, home: Path, netns: str = "") -> None:
        self.home = home
        self.socket = str(home / "docker.sock")
        self.netns = netns or f"/run/netns/{home.name}"
        self._own_netns = not netns
        self._containerd: subprocess.Popen[bytes] | None = None
        self._dockerd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        self.home.mkdir(exist_ok=True)
        if self._own_netns and not os.path.exists(self.netns):
            subprocess.run(["ip", "netns", "add", self.home.name], check=True)
            subprocess.run(["ip", "-n", self.home.name, "link", "set", "lo", "up"], check=True)
        if not (self.home / "daemon.json").exists():
            (self.home / "daemon.json").write_text(json.dumps({"live-restore": True}))
        containerd = self.home / "containerd.sock"
        if self._containerd is None:
            (self.home / "containerd.toml").write_text(_CONTAINERD.format(home=self.home))
            own_mounts = ("unshare", "--mount", "--propagation", "slave")
            self._containerd = self._background(
                *own_mounts, "containerd", "--config", str(self.home / "containerd.toml")
            )
            self._until(self._containerd, containerd.exists)
        self._dockerd = self._background(
            *("nsenter", f"--mount=/proc/{self._containerd.pid}/ns/mnt", "dockerd"),
            *("--host", f"unix://{self.socket}", "--config-file", str(self.home / "daemon.json")),
            *("--containerd", str(containerd), "--cgroup-parent", f"/{self.home.name}"),
            *("--data-root", str(self.home / "data"), "--exec-root", str(self.home / "exec")),
            *("--pidfile", str(self.home / "pid"), "--exec-opt", "native.cgroupdriver=cgroupfs"),
            *(
                "--storage-driver",
                "overlay2",
                "--bridge",
                "none",
                "--userland-proxy=false",
                "--log-level",
                "warn",
            ),
        )
        self._until(self._dockerd, self._answers)

    def _background(self, *command: str) -> subprocess.Popen[bytes]:
        group = _group(self.home)
        with (self.home / "log").open("ab") as log:
            return subprocess.Popen(
                ["nsenter", f"--net={self.netns}", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
            )

    def _until(self, process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"docker does not answer:\n{(self.home / 'log').read_text()[-3000:]}")
            time.sleep(0.02)

    def keep_containers(self, keep: bool) -> None:
        """Whether they live on while it does not, from now on."""
        assert self._dockerd
        (self.home / "daemon.json").write_text(json.dumps({"live-restore": keep}))
        deadline = time.monotonic() + _PATIENCE
        self._dockerd.send_signal(signal.SIGHUP)
        while self.ask("GET", "/info")["LiveRestoreEnabled"] is not keep and time.monotonic() < deadline:
            time.sleep(0.02)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    @property
    def api(self) -> tuple[int, ...]:
        """The newest version of the API that it speaks."""
        return tuple(int(part) for part in self.ask("GET", "/version")["ApiVersion"].split("."))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One call of its API; `body`: bytes (an archive), or what becomes JSON. Refusals are answers, too."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        done = subprocess.run(
            [
                *("curl", "-sS", "-X", method, "--unix-socket", self.socket, "-H", f"Content-Type: {kind}"),
                *(("--data-binary", "@-") if data else ()),
                f"http://docker/v1.41{path}",
            ],
            input=data, capture_output=True, check=True,
        )  # fmt: skip
        try:
            return json.loads(done.stdout)
        except ValueError:
            return None

    def reap(self) -> None:
        """Waits for its processes, which were killed."""
        for process in (self._dockerd, self._containerd):
            if process is not None:
                process.wait(_PATIENCE)

    def _end(self, number: int) -> None:
        assert self._dockerd
        self._dockerd.send_signal(number)
        self._dockerd.wait(_PATIENCE)

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
    group = root / home.name / "engine"
    group.mkdir(parents=True, exist_ok=True)
    return group


def main(home: Path) -> None:
    sys.stdin.buffer.read()
    if home.exists():
        clear(home)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
