"""A containerd of the tests' own: its directories, its socket, its shims. Started and killed at will, and taken away
without a trace; should a test run be killed, the next one takes away what it left.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hivemind.drivers.runtimes.containerd.api import Api
from hivemind.drivers.runtimes.containerd.channel import Channel

_PREFIX = "hivemind-test-containerd-"
_SHIM_SOCKETS = Path("/run/containerd/s")
_CONFIG = """version = 2
root = "{home}/root"
state = "{home}/state"
oom_score = 0
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "{home}/c.sock"
[ttrpc]
  address = "{home}/c.ttrpc"
"""


class Containerd:
    """`home` is short: the addresses of sockets are."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.address = str(home / "c.sock")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns once it answers."""
        config = self.home / "config.toml"
        config.write_text(_CONFIG.format(home=self.home))
        with open(self.home / "log", "ab") as log:
            self._process = subprocess.Popen(
                ["containerd", "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(self.address)
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.home / "log").read_text()[-2000:]) from None
            time.sleep(0.01)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def shims(self) -> list[int]:
        """Processes of its shims."""
        return _processes(self.address, "containerd-shim")

    def mounts(self) -> list[str]:
        return _mounts(self.home)

    async def held(self, namespace: str) -> dict[str, int]:
        """How much there is of each kind in a namespace, where there is any."""
        channel = Channel(self.address)
        api = Api(channel, namespace)
        kinds = {"tasks": "tasks.v1.Tasks", "containers": "containers.v1.Containers",
                 "images": "images.v1.Images", "leases": "leases.v1.Leases"}  # fmt: skip
        try:
            found = {kind: len((await api.call(f"{service}/List"))[kind]) for kind, service in kinds.items()}
            found["snapshots"] = await _count(
                api, "snapshots.v1.Snapshots/List", {"snapshotter": "overlayfs"}
            )
            found["content"] = await _count(api, "content.v1.Content/List", {})
        finally:
            channel.close()
        return {kind: count for kind, count in found.items() if count}

    def remove(self) -> None:
        """Whatever is left of it."""
        self.kill(signal.SIGTERM)
        _clear(self.home)


async def _count(api: Api, method: str, request: dict[str, Any]) -> int:
    async def just() -> AsyncIterator[dict[str, Any]]:
        yield request

    return sum([len(answer["info"]) async for answer in api.exchange(method, just())])


@contextmanager
def running() -> Iterator[Containerd]:
    sweep()
    home = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-{_born(os.getpid())}-"))
    containerd = Containerd(home)
    try:
        containerd.start()
        yield containerd
    finally:
        containerd.remove()


def sweep() -> None:
    """What dead test runs left."""
    for home in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid, born, *_ = home.name.removeprefix(_PREFIX).split("-")
        if _born(int(pid)) != born:
            _clear(home)


def _clear(home: Path) -> None:
    for pid in _processes(str(home), "containerd"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in _inside(home):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _processes(str(home), "containerd") and time.monotonic() < deadline:
        time.sleep(0.01)
    for mounted in reversed(_mounts(home)):
        subprocess.run(["umount", "--lazy", mounted], check=False)
    shutil.rmtree(home, ignore_errors=True)
    _clear_sockets()


def _clear_sockets() -> None:
    """The shims' own, which are in one place whatever the configuration says: those that nobody listens at."""
    for path in _SHIM_SOCKETS.glob("*"):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue
    for directory in (_SHIM_SOCKETS, _SHIM_SOCKETS.parent / "runc", _SHIM_SOCKETS.parent):
        with suppress(OSError):  # not empty: somebody else is there, too
            directory.rmdir()


def _processes(argument: str, program: str) -> list[int]:
    """Those of that program that have `argument` on their command line."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                words = Path("/proc", name, "cmdline").read_text().split("\0")
                if Path(words[0]).name.startswith(program) and any(argument in word for word in words[1:]):
                    found.append(int(name))
    return found


def _inside(home: Path) -> list[int]:
    """The first process of each of its containers, by what its bundles say."""
    found = []
    for file in (home / "state").glob("io.containerd.runtime.v2.task/*/*/init.pid"):
        with suppress(OSError, ValueError):
            found.append(int(file.read_text()))
    return found


def _mounts(home: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{home}/")]


def _born(pid: int) -> str:
    """When the process began, which tells it from a later one with its number; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""
