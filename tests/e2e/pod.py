"""What every runtime must make of an app with companions."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually

POD = """
kind: App
name: pod
spec:
  image: web:1
  ports: [{container: 8080}]
  check: {probe: {kind: http, path: /}, interval: 300ms}
  update: {min_healthy_time: 0}
  mounts: [{kind: scratch, source: shared, target: /shared}]
  stop: {grace: 1}
  init_containers:
    - name: write
      image: busybox:1
      command: [sh, -c, "echo written > /out/file"]
      mounts: [{kind: scratch, source: shared, target: /out}]
  sidecars:
    - name: peek
      image: busybox:1
      command: [sh, -c, "trap exit TERM; until wget -q -O /dev/null http://127.0.0.1:8080/; do sleep 0.1; done;
        echo it serves; while :; do sleep 0.1; done"]
      mounts: [{kind: scratch, source: shared, target: /in, readonly: true}]
      stop: {grace: 1}
"""


def shares_and_heals(node: Daemon) -> None:
    """One network, one directory; each container restarts alone; a daemon that dies finds all of it again."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder, "pod.yaml")
        manifest.write_text(POD)
        node.cli("apply", "-f", str(manifest))
    [pod] = node.ready("pod", 1)

    def log() -> str:
        return node.cli("logs", "-c", "peek", "pod.0").out

    eventually(lambda: log() == "it serves\n", "the sidecar reached the app")
    assert node.cli("exec", "pod", "cat", "/shared/file").out == "written\n"
    assert node.cli("exec", "-c", "peek", "pod.0", "cat", "/in/file").out == "written\n"
    assert node.cli("exec", "pod.0/peek", "cat", "/in/file").out == "written\n"
    assert "pod.0/peek " in node.cli("stats", "--no-stream", "-c", "peek").out
    node.cli("exec", "-c", "peek", "pod.0", "touch", "/in/more", code=1)
    peek = next(c for c in pod.status.companions if c.name == "peek")
    node.kill()
    os.kill(peek.pid, signal.SIGKILL)
    node.start()

    def back() -> bool:
        status = node.replica("pod").status
        return status.ready and [c.restarts for c in status.companions] == [0, 1]

    eventually(back, "the sidecar restarted")
    assert node.replica("pod").status.pid == pod.status.pid
    eventually(lambda: log() == "it serves\n" * 2, "the new sidecar reached the app, too")
    os.kill(pod.status.pid, signal.SIGKILL)
    eventually(lambda: node.replica("pod").status.restarts == 1 and node.ready("pod", 1), "the app restarted")
    assert [c.restarts for c in node.replica("pod").status.companions] == [0, 1]
    node.cli("app", "rm", "pod")
