"""What the agent asks of every volume driver. One contract suite (tests/contract/volumes) runs against all of them.

A *volume* is a directory of files of one *content* generation. Whatever is made is made aside and put in place
whole, so a crash leaves the old or the new and never half of it; `open` sweeps away what was being made. All
methods are safe to repeat. The caller sees to it that only one call at a time concerns a volume.

Errors: `NotFound`, `Unsupported` (this machine cannot), `Conflict` (what it holds stands against it), `Unavailable`
(try later: disk full, server away), `Corrupt`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol

import msgspec

Consistency = Literal["stopped", "crash", "live"]
"""Nobody wrote; it is of one moment, as after a power failure; files were copied one after another."""
Fill = Callable[[Path], Awaitable[None]]
"""Writes what a volume shall hold into its empty directory. That directory's owner and mode count, too."""


PASSING = "passing-"
"""How ids of snapshots begin that nobody has agreed on: `open` erases those that an earlier process left."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    size: int = 0
    """Limit in bytes; 0: none."""
    content: int = 1
    parameters: dict[str, str] = {}
    """Of its storage class."""


class Real(msgspec.Struct, frozen=True, kw_only=True):
    path: Path
    """Of its files; the same for ever."""
    content: int
    size: int
    """The limit that holds."""
    seeded: bool
    """It was handed out before: it belongs to whoever uses it."""


class VolumeDriver(Protocol):
    name: str

    async def open(self) -> None:
        """Sweeps away what was half made."""

    async def close(self) -> None:
        """Lets go; what is mounted stays, for containers use it."""

    async def destroy(self) -> None:
        """Erases every volume and snapshot on this machine."""

    async def find(self, wanted: Wanted) -> Real | None:
        """The volume, ready for use, whatever its content and size; None where there is none."""

    async def make(self, wanted: Wanted, fill: Fill | None = None) -> Real:
        """A volume of that content, empty or as `fill` has it, in place of an older one."""

    async def resize(self, wanted: Wanted, *, busy: bool) -> Real:
        """`busy`: somebody uses it. Then it can grow (where the daemon may) but not shrink. `Conflict` if it holds
        too much."""

    async def seeded(self, wanted: Wanted) -> None:
        """From now on it belongs to whoever uses it."""

    async def used(self, wanted: Wanted) -> int:
        """Bytes that its files take."""

    async def erase(self, wanted: Wanted) -> None: ...

    async def snapshot(self, wanted: Wanted, snapshot: str, *, busy: bool) -> Consistency:
        """Keeps what the volume holds now under that id. `busy`: somebody may write meanwhile."""

    async def has_snapshot(self, snapshot: str) -> bool: ...

    async def snapshot_used(self, snapshot: str) -> int: ...

    async def erase_snapshot(self, snapshot: str) -> None: ...

    def view(self, snapshot: str) -> AbstractAsyncContextManager[Path]:
        """The files of a snapshot, only to be read."""
