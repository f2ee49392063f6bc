"""Scratch directories: empty at first, shared by all containers of one allocation that name them, gone with it.

They outlive the containers' restarts and the machine's, as the allocation does; they are no volumes: another
replica, another revision begins with empty ones.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from hivemind.agent.provision.contract import Provision
from hivemind.drivers.runtimes.contract import Mount
from hivemind.model.allocation import Allocation
from hivemind.model.app import AppSpec
from hivemind.model.mount import ScratchMount
from hivemind.model.template import ContainerTemplate

_EVERYBODY = 0o1777
"""Like /tmp: the containers that share one may run as different users."""


class Scratch:
    """A `Provider`; `place` is a directory of its own below the data directory."""

    def __init__(self, place: Path) -> None:
        self._place = place

    async def provide(
        self, allocation: Allocation, spec: AppSpec, template: ContainerTemplate, user: str
    ) -> Provision:
        return Provision(
            mounts=tuple(
                Mount(
                    target=mount.target, source=str(self._made(allocation.id, mount.source)),
                    readonly=mount.readonly, idmap=True,
                )
                for mount in template.mounts
                if isinstance(mount, ScratchMount)
            )
        )  # fmt: skip

    async def release(self, allocation: str) -> None:
        await asyncio.to_thread(self._remove, self._place / allocation)

    async def prune(self, keep: set[str]) -> None:
        left = [entry for entry in self._entries() if entry.name not in keep]
        for entry in left:
            await asyncio.to_thread(self._remove, entry)

    def _made(self, allocation: str, name: str) -> Path:
        directory = self._place / allocation / name
        self._place.mkdir(mode=0o700, exist_ok=True)
        # Nobody on the machine but containers comes in: the directory above is closed.
        directory.parent.mkdir(mode=0o711, exist_ok=True)
        if not directory.is_dir():
            directory.mkdir()
            directory.chmod(_EVERYBODY)
        return directory

    def _entries(self) -> list[Path]:
        return list(self._place.iterdir()) if self._place.is_dir() else []

    @staticmethod
    def _remove(directory: Path) -> None:
        """Links that a container made in it are removed, not followed."""
        if directory.is_dir():
            shutil.rmtree(directory)
