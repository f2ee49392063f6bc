"""Starting one command: fork, become what was asked, exec. Standard library only: this runs inside the shim."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import termios
import time
from typing import Any, NoReturn

from hivemind.drivers.runtimes.process.tree import start_time

_libc = ctypes.CDLL(None, use_errno=True)
_NEW_NETWORK = 0x40000000


class LaunchError(Exception):
    """The child could not become the command: `number` is the errno, `stage` what it was doing."""

    def __init__(self, number: int, stage: str) -> None:
        super().__init__(f"{stage}: {os.strerror(number)}")
        self.number, self.stage = number, stage


def launch(order: dict[str, Any], stdin: int, stdout: int, stderr: int) -> int:
    """The pid of the command, which runs by then.

    `order`: args, env, workdir; identity `[uid, gid, [groups]]` or null; groups: `cgroup.procs` files to enter;
    netns: path or empty; record: file that the child writes about itself before it becomes the command (so that
    no command can exist without a trace of it), or empty; boot: this boot's id, for the record; tty: whether
    `stdin` is a terminal to control."""
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(order, (stdin, stdout, stderr), writing, parent)
    os.close(writing)
    try:
        failure = os.read(reading, 512)
    finally:
        os.close(reading)
    if failure:
        os.waitpid(pid, 0)
        if order.get("record"):
            os.unlink(order["record"])
        number, _, stage = failure.decode().partition(" ")
        raise LaunchError(int(number), stage)
    return pid


def _become(order: dict[str, Any], streams: tuple[int, int, int], report: int, parent: int) -> NoReturn:
    stage = "start"
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        stage = "enter the control group"
        for path in order["groups"]:
            fd = os.open(path, os.O_WRONLY)
            os.write(fd, b"0")
            os.close(fd)
        stage = "record the start"
        if order.get("record"):
            _record(order["record"], order["boot"])
        if os.getppid() != parent:
            os._exit(127)  # the shim died before there was a record: nobody would know of this command
        stage = "enter the network namespace"
        if order["netns"]:
            fd = os.open(order["netns"], os.O_RDONLY)
            if _libc.setns(fd, _NEW_NETWORK) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            os.close(fd)
        stage = "set up its input and output"
        if order.get("tty"):
            fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
        for target, source in enumerate(streams):
            os.dup2(source, target)
        stage = "become the user"
        if order["identity"] is not None:
            uid, gid, others = order["identity"]
            os.setgroups(others)
            os.setgid(gid)
            os.setuid(uid)
        stage = "enter the working directory"
        os.chdir(order["workdir"])
        stage = "run"
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.umask(0o022)
        os.execvpe(order["args"][0], order["args"], order["env"])
    except OSError as error:
        os.write(report, f"{error.errno or 5} {stage}".encode())
    finally:
        os._exit(127)


def _record(path: str, boot: str) -> None:
    pid = os.getpid()
    now = time.time_ns() // 10**6
    text = f'{{"pid":{pid},"start_time":{start_time(pid)},"started":{now},"boot":"{boot}"}}'
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, text.encode())
    os.close(fd)
    os.rename(f"{path}.new", path)
