"""What commands leave behind: their orphans become the shim's children, which tells to whom they belong.

Standard library only: this runs inside the shim.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection

from hivemind.drivers.runtimes.process import tag
from hivemind.drivers.runtimes.process.command import Command
from hivemind.drivers.runtimes.process.tree import (
    children,
    descendants,
    kill,
    kill_all,
    mark_of,
    open_children,
    session_of,
)

_libc = ctypes.CDLL(None, use_errno=True)
_SET_CHILD_SUBREAPER = 36


class Families:
    """All commands by what their processes can be known by."""

    def __init__(self) -> None:
        _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.tagged = tag.usable()
        self._children = open_children()  # kept open: this must not fail when no descriptor is left
        self._by_tag: dict[int, Command] = {}
        self._by_mark: dict[str, Command] = {}
        self._by_pid: dict[int, Command] = {}

    def next_tag(self) -> int:
        """For what is started next; raises `OSError` when the machine has none left."""
        if not self.tagged:
            return 0
        number = tag.renew()
        if not number:
            raise OSError(28, "the machine has no more time namespaces")
        return number

    def add(self, command: Command) -> None:
        self._by_pid[command.pid] = self._by_mark[command.mark] = command
        if command.tag:
            self._by_tag[command.tag] = (
                command  # a number is given again only when nobody carries it any more
            )

    def remove(self, command: Command) -> None:
        if self._by_pid.get(command.pid) is command:
            del self._by_pid[command.pid]
        if self._by_mark.get(command.mark) is command:
            del self._by_mark[command.mark]
        if self._by_tag.get(command.tag) is command:
            del self._by_tag[command.tag]

    def left_behind(self, mains: Collection[int]) -> dict[Command, list[int]]:
        """Living orphans by command. `mains`: our children that nobody left behind.

        One that dies while it is looked at may have left children of its own by then, so that is looked at again."""
        while True:
            found: dict[Command, list[int]] = {}
            strangers = [pid for pid in self._own_children() if pid not in mains]
            vanished = False
            for pid in strangers:
                if _reaped(pid):
                    vanished = True
                elif (owner := self._owner(pid)) is not None:
                    found.setdefault(owner, []).append(pid)
            if not vanished:
                return found

    def kill(self, command: Command, orphans: Collection[int]) -> None:
        """Everything of it, as far as it is there at this moment."""
        if command.groups:
            kill_all(command.groups, command.mark, command.pid)
        for pid in orphans:
            kill(descendants(pid))

    def _own_children(self) -> list[int]:
        if self._children < 0:
            return children(os.getpid())
        os.lseek(self._children, 0, os.SEEK_SET)
        text = b""
        while more := os.read(self._children, 65536):
            text += more
        return [int(pid) for pid in text.split()]

    def _owner(self, pid: int) -> Command | None:
        owner = self._by_tag.get(tag.of(pid)) or self._by_pid.get(session_of(pid))
        if owner is not None:
            return owner
        mark = mark_of(pid)
        while mark:
            if (owner := self._by_mark.get(mark)) is not None:
                return owner
            mark = mark.rpartition("/")[0]
        return None


def _reaped(pid: int) -> bool:
    """Reaps a dead orphan. It is none of the commands, so nobody waits for how it ended."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False
