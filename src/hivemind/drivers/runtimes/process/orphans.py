"""What runs without a shim is ended: nobody can learn how it ends by itself.

That is what a shim that was killed left: commands that are on record as begun, and those that it was killed before
it could record, which the mark in their environment tells.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping

from hivemind.drivers.runtimes.contract import Exit
from hivemind.drivers.runtimes.process import tag
from hivemind.drivers.runtimes.process.record import Birth
from hivemind.drivers.runtimes.process.tree import kill, kill_all, living_session, mark_of, pids, start_time


class Orphans:
    """`scope`: what the marks of this runtime begin with; `running`: ids of commands that a shim has, which are left
    alone; `births`: those of commands begun in this boot that no shim has."""

    def __init__(self, scope: str, running: Collection[str], births: Mapping[str, Birth]) -> None:
        self._scope, self._running = scope, running
        self._sessions = {birth.pid: id for id, birth in births.items() if _may_be_a_session(birth)}
        self._tags = {birth.tag: (id, birth.start_time) for id, birth in births.items() if birth.tag}
        self.was_alive = {id for id, birth in births.items() if start_time(birth.pid) == birth.start_time}

    def end(self, groups: Collection[list[str]]) -> set[str]:
        """Kills all of them until nothing is left; the ids of those that had anything. Blocks. `groups`: of
        commands that have control groups, for `kill_all`."""
        found: set[str] = set()
        while True:
            alive = {pid: id for pid in pids() if (id := self._owner(pid))}
            kill(alive)
            found.update(alive.values())
            grouped = [pid for paths in groups for pid in kill_all(paths, "", 0)]
            if not alive and not grouped:
                return found
            time.sleep(0.005)  # the kernel tells nobody when they are gone

    def _owner(self, pid: int) -> str:
        """Empty: it is none of ours, or dead."""
        if pid == os.getpid() or not (session := living_session(pid)):
            return ""
        if (owner := self._sessions.get(session)) is not None:
            return owner
        owner, begun = self._tags.get(tag.of(pid), ("", 0))
        if owner and start_time(pid) >= begun:
            return owner
        scope, _, rest = mark_of(pid).partition("/")
        id = rest.partition("/")[0]
        return id if scope == self._scope and id not in self._running else ""


def lost(reason: str) -> Exit:
    return Exit(code=None, at=time.time_ns() // 1_000_000, reason=reason)


def _may_be_a_session(birth: Birth) -> bool:
    """Whether a session of that number is the command's: the kernel gives it to nobody else while one is in it."""
    return start_time(birth.pid) in (0, birth.start_time)
