"""Terminals of commands in containers: made by the OCI runtime in the container's own devpts.

crun hands over its end (a descriptor through a socket) and stays out of the way: its own copying loses what a
command prints just before it ends. runc hands over only when it does not wait for the command, so there we give
it a terminal of ours, from which it takes the size and between which and the container's it copies.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import socket
import struct
import subprocess
import termios
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hivemind.drivers.runtimes.contract import ExecSpec

_SOCKET = "console"


class Terminal(NamedTuple):
    """`fd`: where its output is read and its input written, non-blocking; whoever holds it closes it."""

    fd: int
    pid_file: Path | None
    """Names the command, where `fd` is not the end of its own terminal."""

    def resize(self, columns: int, rows: int) -> None:
        if self.pid_file is None:
            _set_size(self.fd, columns, rows)
            return
        try:
            pid = int(self.pid_file.read_text())
            inner = os.open(f"/proc/{pid}/fd/0", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):  # not running yet, or not any more
            return
        try:
            if os.isatty(inner):
                _set_size(inner, columns, rows)
        finally:
            os.close(inner)


def spawn(
    command: list[str], id: str, files: Path, spec: ExecSpec
) -> tuple[subprocess.Popen[bytes], Terminal]:
    """Starts `command`, an `exec` of the runtime without its last word, the container's `id`. Blocks until the
    terminal is there. `files`: a directory of this command alone."""
    if Path(command[0]).name == "crun":
        return _handed_over(command, id, files, spec)
    return _between(command, id, files, spec)


def _handed_over(
    command: list[str], id: str, files: Path, spec: ExecSpec
) -> tuple[subprocess.Popen[bytes], Terminal]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        directory = os.open(files, os.O_PATH | os.O_CLOEXEC)
        try:  # a socket's address is at most 108 bytes long
            listening.bind(f"/proc/self/fd/{directory}/{_SOCKET}")
        finally:
            os.close(directory)
        listening.listen(1)
        child = subprocess.Popen(
            [*_first(), *command, "--console-socket", _SOCKET, id],
            cwd=files,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        fd = _receive(listening, child.pid)
    if fd < 0:  # it was refused: an end without output, and the reason is in the runtime's log
        fd, theirs = os.openpty()
        os.close(theirs)
    else:
        _set_size(fd, spec.columns, spec.rows)
    os.set_blocking(fd, False)
    return child, Terminal(fd, None)


@cache
def _first() -> tuple[str, ...]:
    """What lets the runtime, but nothing that it forks, run before anything else on this machine.

    It tells the terminal its size only after it let the command go on. Both then have some hundred microseconds
    of work to do, and the command would often find a terminal without a size. Where this is not allowed or not
    installed, such a command hears of the size by SIGWINCH."""
    command = ("chrt", "--reset-on-fork", "--rr", "1")
    try:
        tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return ()
    return () if tried.returncode else command


def _receive(listening: socket.socket, pid: int) -> int:
    """The terminal's descriptor, -1 when the process ends without sending one."""
    ended = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(listening, select.POLLIN)
        waiting.register(ended, select.POLLIN)
        if listening.fileno() not in dict(waiting.poll()):
            return -1
    finally:
        os.close(ended)
    with closing(listening.accept()[0]) as connection:
        fds = socket.recv_fds(connection, 64, 1)[1]
    return fds[0] if fds else -1


def _between(
    command: list[str], id: str, files: Path, spec: ExecSpec
) -> tuple[subprocess.Popen[bytes], Terminal]:
    ours, theirs = pty.openpty()
    try:
        _set_size(ours, spec.columns, spec.rows)
        child = subprocess.Popen(
            [*command, id], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    os.set_blocking(ours, False)
    return child, Terminal(ours, files / "pid")


def _set_size(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
