"""A person at a terminal: the command line in a pseudo terminal of its own."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from types import TracebackType

from tests.e2e.daemon import Daemon
from tests.e2e.leftovers import COMMAND, environment, inside

_PATIENCE = 60.0


class Typist:
    """`expect` waits for what the terminal shows, beginning behind what was expected before."""

    def __init__(self, daemon: Daemon, *words: str, columns: int = 80, rows: int = 24) -> None:
        self._fd, theirs = os.openpty()
        self._shown = b""
        self.resize(columns, rows, tell=False)
        self._child = subprocess.Popen(
            [*inside(daemon.home), *COMMAND, *words],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd="/", start_new_session=True,
            env={**environment(), "HIVEMIND_HOST": f"unix://{daemon.socket}", "TERM": "xterm"},
        )  # fmt: skip
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def resize(self, columns: int, rows: int, *, tell: bool = True) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if tell:  # it has no controlling terminal that would
            os.kill(self._child.pid, signal.SIGWINCH)

    def expect(self, text: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        wanted = text.encode()
        while wanted not in self._shown:
            left = deadline - time.monotonic()
            ready = select.select([self._fd], [], [], max(left, 0))[0]
            assert ready, f"{text!r} did not come; shown is {self._shown.decode(errors='replace')!r}"
            self._shown += self._read() or self._missing(text)
        self._shown = self._shown.partition(wanted)[2]

    def ended(self) -> int:
        """Its exit code."""
        deadline = time.monotonic() + _PATIENCE
        while (code := self._child.poll()) is None:
            assert time.monotonic() < deadline, (
                f"it goes on; shown is {self._shown.decode(errors='replace')!r}"
            )
            if select.select([self._fd], [], [], 0.05)[0]:
                self._shown += self._read()
        return code

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, 65_536)
        except OSError:  # the other end is closed
            return b""

    def _missing(self, text: str) -> bytes:
        raise AssertionError(f"it ended before {text!r}; shown is {self._shown.decode(errors='replace')!r}")

    def __enter__(self) -> Typist:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait(20)
        os.close(self._fd)
