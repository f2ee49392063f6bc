"""Whether a specification can run as a plain command here, and as whom; the error when it could not."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from typing import Any

from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.process.isolation import refuse_isolation
from hivemind.drivers.runtimes.process.search import is_found
from hivemind.errors import Invalid, Unavailable, Unsupported

_LARGEST_ID = 2**32 - 2
_BAD_COMMAND = {
    errno.ENOENT,
    errno.EACCES,
    errno.ENOEXEC,
    errno.ENOTDIR,
    errno.E2BIG,
    errno.EISDIR,
    errno.ELOOP,
}

Identity = tuple[int, int, list[int]]
"""User, group, further groups."""


def check(spec: ContainerSpec, *, why_no_limits: str) -> None:
    """Raises `Invalid` or `Unsupported`. `why_no_limits`: empty when limits can be enforced."""
    if spec.image:
        raise Unsupported(
            "the process runtime runs the host's own commands, not images",
            hint="leave out the image, or start the daemon with --runtime oci",
        )
    if spec.tty or spec.stdin:
        raise Unsupported(
            "the process runtime gives commands neither a terminal nor input",
            hint="leave out --tty and --interactive, or start the daemon with --runtime oci",
        )
    refuse_isolation(spec)
    for mount in spec.mounts:
        if mount.source != mount.target or mount.readonly:
            raise Unsupported(
                f"the process runtime cannot mount {mount.source or 'a tmpfs'} at {mount.target}",
                hint="use the host's path itself, or start the daemon with --runtime oci",
            )
    if why_no_limits and (spec.cpus or spec.memory or spec.pids):
        raise Unsupported(
            f"limits cannot be enforced: {why_no_limits}",
            hint="leave out cpus, memory and pids, or run the daemon as root",
        )
    if spec.netns and os.geteuid() != 0:
        raise Unsupported("only root can join a network namespace", hint="run the daemon as root")
    identity(spec.user)
    if not os.path.isdir(spec.workdir):
        raise Invalid(f"there is no directory {spec.workdir} here", hint="check workdir")
    executable(spec.args, spec.env | spec.secret_env, spec.workdir)


def executable(args: tuple[str, ...], env: dict[str, str], workdir: str) -> None:
    """Raises `Invalid` when there is nothing to run."""
    if not args or not args[0]:
        raise Invalid("there is no command to run", hint="give the command as a list of words")
    if not is_found(args[0], env, workdir):
        raise Invalid(
            f"there is no executable {args[0]!r} on this machine",
            hint="check the command's name and PATH; the process runtime runs the host's own commands",
        )


def identity(user: str) -> Identity | None:
    """What to become for `name|uid[:group|gid]`; None: stay what the daemon is."""
    if not user:
        return None
    name, _, group = user.partition(":")
    number = _number(name)
    try:
        entry = pwd.getpwnam(name) if number is None else pwd.getpwuid(number)
        uid, gid = entry.pw_uid, entry.pw_gid
        others = os.getgrouplist(entry.pw_name, gid)
    except KeyError:
        if number is None:
            raise Invalid(f"there is no user {name!r} on this machine", hint="see /etc/passwd") from None
        uid, gid, others = number, number, []
    if group:
        try:
            gid = grp.getgrnam(group).gr_gid if (given := _number(group)) is None else given
        except KeyError:
            raise Invalid(f"there is no group {group!r} on this machine", hint="see /etc/group") from None
        others = [gid]
    if os.geteuid() == 0:
        return uid, gid, others
    if uid != os.geteuid():
        raise Unsupported(f"only root can run a command as {name}", hint="run the daemon as root")
    return None


def _number(text: str) -> int | None:
    """An id; None: it is a name. Raises `Invalid`."""
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > 10 or int(text) > _LARGEST_ID:
        raise Invalid(f"{text[:40]} is too large for a user or group", hint=f"the largest is {_LARGEST_ID}")
    return int(text)


def refused(answer: dict[str, Any], args: tuple[str, ...]) -> Invalid | Unavailable:
    """The error for the shim's `answer` that it could not start `args`."""
    number, stage = answer["errno"], answer["stage"]
    what = f"cannot {stage} {args[0]!r}" if stage == "run" else f"cannot {stage} for {args[0]!r}"
    message = f"{what}: {os.strerror(number)}"
    if number in _BAD_COMMAND:
        return Invalid(message, hint="check the command, its user's rights and the working directory")
    return Unavailable(message, hint="the machine may lack memory, disk space or free process numbers")
