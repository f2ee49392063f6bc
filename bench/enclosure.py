"""An enclosure: network, mount and process namespaces of its own, with an empty /run, for one peer at a time.

Its first process only reaps. When that ends, for it is killed together with the benchmark that made it, the kernel
ends everything inside and takes mounts and links apart. So nothing that a benchmark starts can outlive it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

_INTERVAL = 0.01
"""Seconds between two looks at how far a daemon has come."""
_FIRST = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
print("ready", flush=True)
while True:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    signal.sigwait([signal.SIGCHLD])
"""


class Enclosure:
    def __enter__(self) -> Enclosure:
        separate = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        self._outer = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *separate, sys.executable, "-S", "-c", _FIRST],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._outer.stdout is not None
        if self._outer.stdout.readline() != b"ready\n":
            raise RuntimeError("cannot make namespaces")
        self.first = _child_of(self._outer.pid)
        self.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        first = os.pidfd_open(self.first)
        self._outer.kill()  # The kernel then ends the first process, and with it everything else inside.
        self._outer.wait()
        select.select([first], [], [])
        os.close(first)
        assert self._outer.stdout is not None
        self._outer.stdout.close()

    def run(self, *command: str, env: Mapping[str, str] | None = None, seconds: float | None = None) -> str:
        """Runs it inside to its end; what it printed. Raises with its complaints when it fails, and `TimeoutExpired`
        when it takes longer than `seconds`."""
        done = subprocess.run(self.inside(command), env=env, capture_output=True, text=True, timeout=seconds)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed ({done.returncode}): {done.stderr.strip()[-2000:]}")
        return done.stdout

    def start(self, *command: str, env: Mapping[str, str] | None = None, log: Path) -> Daemon:
        """Runs it inside, in the background; it writes to `log`."""
        with log.open("ab") as output:
            return Daemon(
                subprocess.Popen(
                    self.inside(command), env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                ),
                log,
            )

    def inside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", "--net", "--mount", "--pid", f"--target={self.first}", "--", *command]

    def path(self, inside: str) -> Path:
        """How a path of the enclosure is called outside."""
        return Path(f"/proc/{self.first}/root{inside}")

    def processes(self) -> list[int]:
        """All that run inside, its first one and those in containers not counted."""
        own = os.readlink(f"/proc/{self.first}/ns/pid")
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.first:
                try:
                    if os.readlink(entry / "ns/pid") == own:
                        found.append(int(entry.name))
                except OSError:
                    continue  # it ended while we looked
        return found


class Daemon:
    """A process in the background, seen through the `nsenter` that waits for it."""

    def __init__(self, outer: subprocess.Popen[bytes], log: Path) -> None:
        self._outer = outer
        self.log = log

    @property
    def pid(self) -> int:
        return _child_of(self._outer.pid)

    def alive(self) -> bool:
        return self._outer.poll() is None

    def complaint(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def until(self, done: Callable[[], bool], patience: float = 300, interval: float = _INTERVAL) -> None:
        """Looks every so many seconds whether `done`. Raises with the daemon's own words when it is not."""
        deadline = time.monotonic() + patience
        while not done():
            if not self.alive():
                raise RuntimeError(f"{self.log.stem} ended: {self.complaint()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.log.stem} is not done after {patience:g} s: {self.complaint()}")
            time.sleep(interval)

    def stop(self) -> None:
        """Asks it to end and waits."""
        if self.alive():
            os.kill(self.pid, signal.SIGTERM)
            self._outer.wait(timeout=60)


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
