"""Who a container's process is: names looked up in the image's own /etc/passwd and /etc/group.

The files belong to the image, so nothing in them is trusted: they are opened with the image's root as root
directory, no symbolic link leads out, and only the first megabyte of a regular file counts.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from hivemind.drivers.runtimes.oci import kernel
from hivemind.errors import Invalid

_MOST = 1 << 20
_LARGEST_ID = 2**32 - 2


class Account(NamedTuple):
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def find_account(root: int, user: str) -> Account:
    """`name|uid[:group|gid]` in the root directory open as `root`. A number need not be listed; a name must.

    Without a group: the account's own and those that list it as a member. Raises `Invalid`."""
    name, colon, group = user.partition(":")
    if (user and not name) or (colon and not group):
        raise Invalid(f"{user!r} is not a user", hint="write it like app, 1000, app:app or 1000:1000")
    account = _account(_rows(root, "etc/passwd", 7), name or "0")
    if group:
        return account[0]._replace(gid=_group(_rows(root, "etc/group", 4), group), groups=())
    return account[0]._replace(groups=_memberships(_rows(root, "etc/group", 4), account[1]))


def names(root: int) -> dict[int, str]:
    """Every user that the image names, by number."""
    rows = reversed(_rows(root, "etc/passwd", 7))  # the first one of a number counts
    return {uid: row[0] for row in rows if (uid := _number(row[2])) is not None}


def _account(passwd: list[list[str]], name: str) -> tuple[Account, str]:
    number = _number(name)
    for row in passwd:
        uid, gid = _number(row[2]), _number(row[3])
        if uid is None or gid is None:
            continue
        if row[0] == name or uid == number:
            return Account(uid=uid, gid=gid, home=row[5] or "/"), row[0]
    if number is None:
        known = ", ".join(row[0] for row in passwd[:8]) or "none"
        raise Invalid(
            f"the image has no user named {name!r}",
            hint=f"use a number, or a name from the image's /etc/passwd ({known})",
        )
    return Account(uid=number, home="/root" if number == 0 else "/"), ""


def _group(groups: list[list[str]], name: str) -> int:
    number = _number(name)
    for row in groups:
        gid = _number(row[2])
        if gid is not None and (row[0] == name or gid == number):
            return gid
    if number is None:
        raise Invalid(
            f"the image has no group named {name!r}",
            hint="use a number, or a name from the image's /etc/group",
        )
    return number


def _memberships(groups: list[list[str]], name: str) -> tuple[int, ...]:
    if not name:
        return ()
    gids = (_number(row[2]) for row in groups if name in row[3].split(","))
    return tuple(sorted({gid for gid in gids if gid is not None}))


def _number(text: str) -> int | None:
    if text.isascii() and text.isdigit() and int(text) <= _LARGEST_ID:
        return int(text)
    return None


def _rows(root: int, path: str, columns: int) -> list[list[str]]:
    try:
        fd = kernel.open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return []
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return []
        text = os.pread(fd, _MOST, 0).decode(errors="replace")
    finally:
        os.close(fd)
    rows = (line.split(":") for line in text.splitlines())
    return [row for row in rows if len(row) >= columns]
