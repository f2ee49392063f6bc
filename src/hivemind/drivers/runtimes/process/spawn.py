"""Starting a command that needs nothing special, without copying this process first. Standard library only.

The kernel lets the new process borrow our memory until it becomes the command, so an error of that is known at once,
and it costs a third of a fork.
"""

from __future__ import annotations

import errno
import os
import signal
from typing import Any

from hivemind.drivers.runtimes.process.search import candidates

DEFAULTS = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGXFSZ)
"""Signals that Python or the shim treat in ways of their own, which a command must not inherit."""


def is_plain(order: dict[str, Any]) -> bool:
    """Whether `spawn` can do it."""
    special = order["groups"] or order["netns"] or order.get("tty") or order.get("of")
    return not special and order["identity"] is None


def spawn(order: dict[str, Any], stdin: int, stdout: int, stderr: int) -> int:
    """The pid of the command, which runs by then. Our own working directory must be that of the command."""
    args, env = order["args"], order["env"]
    streams = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate((stdin, stdout, stderr))]
    worst: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), args[0])
    for path in candidates(args[0], env):
        try:
            return os.posix_spawn(
                path, args, env, file_actions=streams, setsid=True, setsigmask=(), setsigdef=DEFAULTS
            )
        except BlockingIOError:
            raise  # no more processes: that is not the file's fault
        except OSError as error:
            worst = error
    raise worst
