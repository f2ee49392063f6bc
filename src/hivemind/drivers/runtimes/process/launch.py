"""Starting one command: become what was asked, exec. Standard library only: this runs inside the shim."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import termios
from typing import Any, NoReturn

from hivemind.drivers.runtimes.process import tag
from hivemind.drivers.runtimes.process.search import candidates
from hivemind.drivers.runtimes.process.spawn import DEFAULTS, is_plain, spawn

_libc = ctypes.CDLL(None, use_errno=True)
_NEW_NETWORK = 0x40000000
_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
"""How many files a command may have open. The shim itself may have more: see `may_open_many`."""


class LaunchError(Exception):
    """The child could not become the command: `number` is the errno, `stage` what it was doing."""

    def __init__(self, number: int, stage: str) -> None:
        super().__init__(f"{stage}: {os.strerror(number)}")
        self.number, self.stage = number, stage


def may_open_many() -> None:
    """Each running command has two pipes and a log open here, more than the usual limit may bear."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def launch(order: dict[str, Any], stdin: int, stdout: int, stderr: int) -> int:
    """The pid of the command, which runs by then, in a session of its own.

    `order`: args, env, workdir; identity `[uid, gid, [groups]]` or null; groups: `cgroup.procs` files to enter;
    netns: path or empty; tty: whether `stdin` is a terminal to control; of: pid of the process whose tag it shall
    carry, instead of the tag of whatever is started next."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES if most < 0 else min(_FILES, most), most))
    try:
        if is_plain(order):
            return _spawned(order, stdin, stdout, stderr)
        return _forked(order, stdin, stdout, stderr)
    finally:
        may_open_many()


def _spawned(order: dict[str, Any], stdin: int, stdout: int, stderr: int) -> int:
    try:
        os.chdir(order["workdir"])
    except OSError as error:
        raise LaunchError(error.errno or 5, "enter the working directory") from error
    try:
        return spawn(order, stdin, stdout, stderr)
    except OSError as error:
        stage = "start" if error.errno in (errno.EAGAIN, errno.ENOMEM) else "run"
        raise LaunchError(error.errno or 5, stage) from error
    finally:
        os.chdir("/")  # a directory that is somebody's own cannot be unmounted


def _forked(order: dict[str, Any], stdin: int, stdout: int, stderr: int) -> int:
    reading, writing = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            _become(order, (stdin, stdout, stderr), writing)
        os.close(writing)
        writing = -1
        failure = os.read(reading, 512)
    except OSError as error:
        raise LaunchError(error.errno or 5, "start") from error
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    if failure:
        os.waitpid(pid, 0)
        number, _, stage = failure.decode().partition(" ")
        raise LaunchError(int(number), stage)
    return pid


def _become(order: dict[str, Any], streams: tuple[int, int, int], report: int) -> NoReturn:
    stage = "start"
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        stage = "enter the control group"
        for path in order["groups"]:
            fd = os.open(path, os.O_WRONLY)
            os.write(fd, b"0")
            os.close(fd)
        stage = "join the command beside it"
        if order.get("of"):
            tag.take(order["of"])
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
        for number in DEFAULTS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _execute(order["args"], order["env"])
    except OSError as error:
        os.write(report, f"{error.errno or 5} {stage}".encode())
    finally:
        os._exit(127)


def _execute(args: list[str], env: dict[str, str]) -> None:
    worst: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), args[0])
    for path in candidates(args[0], env):
        try:
            os.execve(path, args, env)
        except OSError as error:
            worst = error
    raise worst
