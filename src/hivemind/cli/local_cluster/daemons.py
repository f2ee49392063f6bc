"""The daemons of a local cluster: started, found again by their data directories, ended."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from hivemind.cli.local_cluster.place import LocalNode
from hivemind.cli.local_cluster.ports import HOST
from hivemind.errors import Unavailable

_COMMAND = (sys.executable, "-m", "hivemind")
_GRACE = 15.0
"""Seconds that a daemon has to stop by itself."""
_REMOVAL = 60.0


def launch(node: LocalNode, others: Iterable[LocalNode]) -> subprocess.Popen[bytes]:
    """Its own session: Ctrl-C in the terminal is for whoever watches over it. Of the `others` it knows nothing but
    where they take part in the hash table."""
    node.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    words = [
        "daemon", "--data-dir", str(node.data), "--run-dir", str(node.run), "--node-name", node.name,
        "--runtime", "process", "--web-port", str(node.web_port), "--ws-port", str(node.ws_port),
        "--cluster-address", f"{HOST}:{node.hive_port}", "--dns-port", "0", "--restart-grace", "0s",
        "--log-format", "console",
    ]  # fmt: skip
    for other in others:
        words += ["--cluster-seeds", f"{HOST}:{other.hive_port}"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HIVEMIND_")}
    with node.log.open("ab") as log:
        return subprocess.Popen(
            [*_COMMAND, *words], env=kept, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def pids(nodes: Iterable[LocalNode]) -> dict[int, int]:
    """Of the daemons that run, by the number of their node: known by the data directory on their command lines."""
    wanted = {os.fsencode(node.data): node.number for node in nodes}
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"daemon" in words and b"--data-dir" in words and b"--destroy" not in words:
            number = wanted.get(words[words.index(b"--data-dir") + 1])
            if number is not None:
                found[number] = int(entry.name)
    return found


def end(nodes: Iterable[LocalNode]) -> None:
    """Every daemon of these nodes, gently and then not."""
    handles = {}
    for pid in pids(nodes).values():
        try:
            handles[pid] = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
    try:
        for number, seconds in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, _GRACE)):
            handles = _ended(handles, number, seconds)
        if handles:
            raise Unavailable(
                f"processes {', '.join(map(str, handles))} do not end", hint="look at them: ps -fp PID"
            )
    finally:
        for handle in handles.values():
            os.close(handle)


def _ended(handles: dict[int, int], number: signal.Signals, seconds: float) -> dict[int, int]:
    """Those that are left."""
    for handle in handles.values():
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass
    left, deadline = dict(handles), time.monotonic() + seconds
    while left and (remaining := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select(list(left.values()), [], [], remaining)
        for pid, handle in list(left.items()):
            if handle in ready:
                os.close(handle)
                del left[pid]
                _bury(pid)
    return left


def _bury(pid: int) -> None:
    """Where it was a child of this process, so that it is none that haunts the table."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def destroy(nodes: Iterable[LocalNode]) -> list[str]:
    """All that these nodes left on the machine, by Hivemind's own means; the problems."""
    removing = {
        node: subprocess.Popen(
            [*_COMMAND, "daemon", "--destroy", "--data-dir", str(node.data), "--run-dir", str(node.run)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for node in nodes if node.data.exists()
    }  # fmt: skip
    problems = []
    for node, process in removing.items():
        try:
            _, said = process.communicate(timeout=_REMOVAL)
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[1] or "it takes too long"
        if process.returncode:
            problems.append(f"{node.name}: {said.strip().splitlines()[0] if said.strip() else 'not removed'}")
    return problems


def memory(pid: int) -> int:
    """Bytes that a process occupies; 0: it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0
