"""Hearing of processes that the kernel kills at a container's memory limit, the moment it happens.

Version 1 of cgroups signals an eventfd, version 2 changes a file (inotify). Neither says what happened, so the
counter of kills decides.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from hivemind.drivers.runtimes import inotify
from hivemind.drivers.runtimes.cgroups import Cgroup, unified

_LATER = (0.01, 0.1, 1.0)


class MemoryWatch:
    """Calls `on_kill` for each new kill until closed."""

    def __init__(self, cgroup: Cgroup, on_kill: Callable[[], None]) -> None:
        self._cgroup = cgroup
        self._on_kill = on_kill
        self._seen = cgroup.oom_kills()
        self._eventfd = -1
        self._task: asyncio.Task[None] | None = None
        self._notifier: inotify.Inotify | None = None
        if unified():
            self._notifier = inotify.Inotify()
            self._notifier.add(cgroup.memory_file(), inotify.MODIFY)
            self._task = asyncio.ensure_future(self._follow(self._notifier))
        else:
            self._eventfd = _register(cgroup.memory_file())
            asyncio.get_running_loop().add_reader(self._eventfd, self._on_signal)

    def close(self) -> None:
        if self._notifier is not None:
            self._notifier.close()  # its task ends by itself
            self._notifier = None
        if self._eventfd >= 0:
            asyncio.get_running_loop().remove_reader(self._eventfd)
            os.close(self._eventfd)
            self._eventfd = -1

    def _on_signal(self) -> None:
        os.eventfd_read(self._eventfd)
        self._look()
        for delay in _LATER:  # version 1 signals first and kills then
            asyncio.get_running_loop().call_later(delay, self._look)

    async def _follow(self, notifier: inotify.Inotify) -> None:
        async for _ in notifier:
            self._look()

    def _look(self) -> None:
        kills = self._cgroup.oom_kills()
        if kills > self._seen:
            self._seen = kills
            self._on_kill()


def _register(control: Path) -> int:
    """An eventfd that version 1 signals when memory runs out (and when the group goes)."""
    eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        with control.open("rb") as opened:
            registration = f"{eventfd} {opened.fileno()}"
            (control.parent / "cgroup.event_control").write_text(registration)
    except BaseException:
        os.close(eventfd)
        raise
    return eventfd
