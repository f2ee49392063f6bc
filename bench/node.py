"""A real Hivemind daemon in an enclosure, driven by its public client."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from types import TracebackType

from bench import image
from bench.enclosure import Enclosure
from bench.home import CLONE
from hivemind.client import Hivemind
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.template import Stop

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("HIVEMIND_")},
    "PYTHONPATH": str(CLONE / "src"),
}
COMMAND = (sys.executable, "-m", "hivemind")
APP = "bench"


class Node:
    def __init__(self, home: Path, *options: str) -> None:
        self._home = home
        self._enclosure = Enclosure()
        self._options = options
        self._place = ("--data-dir", f"{home}/data", "--run-dir", "/run/hivemind")

    def __enter__(self) -> Node:
        self._home.mkdir()
        self._enclosure.__enter__()
        try:
            self.start()
            self.hive = Hivemind(self.host)
            with image.oci().open("rb") as archive:
                self.hive.images.load(archive)
        except BaseException:
            self._enclosure.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.hive.close()
            self.stop()
            self._enclosure.run(*COMMAND, "daemon", "--destroy", *self._place, env=ENVIRONMENT)
        finally:
            self._enclosure.__exit__(kind, error, trace)

    def start(self) -> float:
        """Seconds from nothing to ready."""
        begin = time.perf_counter()
        options = ("--web-port", "0", "--node-name", "bench", "--log-level", "warning")
        self.daemon = self._enclosure.start(
            *COMMAND,
            "daemon",
            *self._place,
            *options,
            *self._options,
            env=ENVIRONMENT,
            log=self._home / "log",
        )
        self.daemon.until(self._ready)
        return time.perf_counter() - begin

    def stop(self) -> None:
        self.daemon.stop()

    @property
    def host(self) -> str:
        return f"unix://{self._enclosure.path('/run/hivemind/hivemind.sock')}"

    def processes(self) -> list[int]:
        """The daemon and the supervisors of its containers."""
        return self._enclosure.processes()

    def _ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.host.removeprefix("unix://"))
                probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return probe.recv(64).startswith(b"HTTP/1.1 200")
            except OSError:
                return False

    def deploy(self) -> None:
        """The app with no replicas."""
        spec = AppSpec(image=image.NAME, command=image.COMMAND, stop=Stop(signal="SIGKILL"))
        self.hive.apps.deploy(AppManifest(name=APP, replicas=0, spec=spec))

    def scale(self, replicas: int) -> float:
        """Seconds until so many replicas run; at zero, until nothing of any is left."""
        begin = time.perf_counter()
        self.hive.apps.scale(APP, replicas)
        self.daemon.until(lambda: self.hive.apps.get(APP).status.running == replicas)
        if not replicas:
            self.daemon.until(self._empty)
        return time.perf_counter() - begin

    def _empty(self) -> bool:
        return all(a.state == "stopped" for a in self.hive.allocations.list(app=APP))


def forget(home: Path) -> None:
    """What a benchmark that was killed left of a node."""
    if (home / "node" / "data").exists():
        node = Node(home / "node")
        with node._enclosure as enclosure:
            enclosure.run(*COMMAND, "daemon", "--destroy", *node._place, env=ENVIRONMENT)
