"""Docker, as a peer: an engine and a Swarm of our own, in an enclosure, from the distribution's packages.

The packages are fetched and unpacked, not installed: no service starts, no group appears, and a Docker that this
machine may have is neither used nor touched.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from bench import image
from bench.enclosure import Daemon, Enclosure
from bench.home import CACHE, CGROUP

_PACKAGES = ("docker.io", "containerd", "tini")
_WORKERS = 4

_CONTAINERD = """\
version = 2
root = "{home}/containerd"
state = "/run/containerd-bench"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/containerd.sock"
"""


def programs() -> Path:
    """A directory tree with Docker's programs, fetched when it is not there yet."""
    tree = CACHE / "bench" / "docker"
    if (tree / "usr/sbin/dockerd").exists():
        return tree
    if shutil.which("iptables") is None:
        raise SystemExit("error: Docker needs iptables\nhint: apt-get install iptables")
    debs = CACHE / "bench" / "debs"
    (debs / "partial").mkdir(parents=True, exist_ok=True)
    fetch = [
        *("apt-get", "-q", "-y", "-o", f"Dir::Cache::archives={debs}/", "-o", "APT::Install-Recommends=0"),
        *("-o", "APT::Sandbox::User=root", "--download-only", "--reinstall", "install", *_PACKAGES),
    ]
    done = subprocess.run(fetch, capture_output=True, text=True)
    if done.returncode:
        subprocess.run(["apt-get", "-q", "update"], check=True, capture_output=True)
        subprocess.run(fetch, check=True, capture_output=True)
    unfinished = tree.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for deb in debs.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", deb, unfinished], check=True)
    unfinished.rename(tree)
    return tree


def launch(enclosure: Enclosure, home: Path, env: dict[str, str]) -> tuple[Daemon, Daemon]:
    """containerd and dockerd, at /run/docker.sock of the enclosure, which may not answer yet; `env`: see `Docker`."""
    (home / "containerd.toml").write_text(_CONTAINERD.format(home=home))
    (home / "daemon.json").write_text("{}")

    def background(*command: str) -> Daemon:
        return enclosure.start(*command, env=env, log=home / f"{command[0]}.log")

    containerd = background("containerd", "-c", f"{home}/containerd.toml", "-l", "error")
    containerd.until(enclosure.path("/run/containerd.sock").exists)
    dockerd = background(
        "dockerd",
        *("--containerd", "/run/containerd.sock", "-H", "unix:///run/docker.sock"),
        *("--config-file", f"{home}/daemon.json", "--data-root", f"{home}/data"),
        *("--exec-root", "/run/docker", "--pidfile", "/run/docker.pid", "--log-level", "error"),
        *("--cgroup-parent", f"/{CGROUP}/docker", "--exec-opt", "native.cgroupdriver=cgroupfs"),
        *("--default-ulimit", "nofile=1024:1024", "--userland-proxy=false", "--storage-driver", "overlay2"),
    )
    return containerd, dockerd


def environment() -> dict[str, str]:
    """In which Docker's programs are found."""
    tree = programs()
    return {**os.environ, "PATH": f"{tree}/usr/sbin:{tree}/usr/bin:{os.environ['PATH']}"}


class Docker:
    """A dockerd with a containerd of its own. `swarm=True` makes it a Swarm of one manager."""

    def __init__(self, home: Path, *, swarm: bool) -> None:
        self._home = home
        self._swarm = swarm
        self._enclosure = Enclosure()
        self.env = environment()
        self.cli = str(programs() / "usr/bin/docker")

    def __enter__(self) -> Docker:
        self._home.mkdir()
        self._enclosure.__enter__()
        try:
            self.started = self.start()
            self.docker("load", "-q", "-i", str(image.docker(self._home / "image.tar")))
            if self._swarm:
                address = {"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"}
                self.call("POST", "/swarm/init", address)
                self.call("POST", "/services/create", _service())
        except BaseException:
            self._enclosure.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enclosure.__exit__(kind, error, trace)

    def start(self) -> float:
        """Seconds from nothing to the first answer."""
        begin = time.perf_counter()
        self._containerd, self._dockerd = launch(self._enclosure, self._home, self.env)
        self._dockerd.until(self._answers)
        return time.perf_counter() - begin

    def stop(self) -> None:
        self._dockerd.stop()
        self._containerd.stop()

    def _answers(self) -> bool:
        try:
            self.call("GET", "/_ping")
        except OSError:
            return False
        return True

    def processes(self) -> list[int]:
        """Of the engine, with the supervisors of its containers."""
        return self._enclosure.processes()

    @property
    def engine(self) -> list[int]:
        return [self._dockerd.pid, self._containerd.pid]

    @property
    def host(self) -> str:
        return f"unix://{self._enclosure.path('/run/docker.sock')}"

    def docker(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.cli, "-H", self.host, *arguments], env=self.env, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"docker {arguments[0]}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def call(self, method: str, path: str, body: object = None) -> Any:
        connection = _Local(str(self._enclosure.path("/run/docker.sock")))
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, f"/v1.41{path}", sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {data.decode(errors='replace')}")
        return json.loads(data) if data.startswith((b"{", b"[")) else None

    # -- Swarm -----------------------------------------------------------------------------------------------

    def scale(self, replicas: int) -> float:
        """Seconds until so many tasks of the service run; at zero, until no container is left."""
        begin = time.perf_counter()
        service = self.call("GET", "/services/bench")
        spec = service["Spec"]
        spec["Mode"]["Replicated"]["Replicas"] = replicas
        self.call("POST", f"/services/bench/update?version={service['Version']['Index']}", spec)
        self._dockerd.until(lambda: self.running() == replicas)
        if not replicas:
            self._dockerd.until(lambda: not self.call("GET", "/containers/json?all=1"))
        return time.perf_counter() - begin

    def until(self, test: Callable[[], bool]) -> None:
        """Waits; raises when the engine ends meanwhile."""
        self._dockerd.until(test)

    def running(self) -> int:
        """Tasks of the service that run."""
        wanted = quote(json.dumps({"name": ["bench"]}))
        [service] = self.call("GET", f"/services?status=true&filters={wanted}")
        return int(service["ServiceStatus"]["RunningTasks"])

    # -- docker run ------------------------------------------------------------------------------------------

    def up(self, count: int) -> float:
        """Seconds that `docker run -d` needs for so many containers, four at a time."""
        begin = time.perf_counter()
        with ThreadPoolExecutor(_WORKERS) as pool:
            list(pool.map(self._one, range(count)))
        return time.perf_counter() - begin

    def _one(self, number: int) -> None:
        self.docker("run", "-d", "--name", f"bench-{number}", image.NAME, *image.COMMAND)

    def down(self, count: int) -> float:
        begin = time.perf_counter()
        self.docker("rm", "-f", *(f"bench-{number}" for number in range(count)))
        return time.perf_counter() - begin


def _service() -> dict[str, object]:
    """What is fastest in a Swarm: the engine's own bridge instead of an overlay network, no published port."""
    container = {"Image": image.NAME, "Command": image.COMMAND, "StopSignal": "SIGKILL"}
    return {
        "Name": "bench",
        "TaskTemplate": {"ContainerSpec": container},
        "Mode": {"Replicated": {"Replicas": 0}},
    }


class _Local(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)
