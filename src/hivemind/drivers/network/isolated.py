"""No network: a namespace for each allocation in which there is nothing but the loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from hivemind.drivers.network import netns, rtnetlink
from hivemind.drivers.network.contract import Attachment, Backend, Published
from hivemind.drivers.network.netlink import Netlink
from hivemind.drivers.network.records import check_allocation
from hivemind.errors import Unavailable

T = TypeVar("T")


class IsolatedNetwork:
    """The pins of its namespaces are all that it keeps. They may be gone after a reboot."""

    name = "isolated"

    def __init__(self, run_dir: Path) -> None:
        self.dns_address = ""
        self._pins = run_dir / "isolated"
        self._attached: dict[str, Attachment] = {}

    async def open(self) -> None:
        await self._run(self._open)

    async def close(self) -> None:
        self._attached = {}

    async def attach(self, allocation: str, ports: Iterable[str]) -> Attachment:
        check_allocation(allocation)
        if allocation not in self._attached:
            await self._run(lambda: self._make(self._pins / allocation))
            self._attached[allocation] = self._attachment(allocation)
        return self._attached[allocation]

    async def detach(self, allocation: str) -> None:
        if self._attached.pop(allocation, None):
            await self._run(lambda: netns.delete(self._pins / allocation))

    def attachments(self) -> Mapping[str, Attachment]:
        return dict(self._attached)

    async def unreachable(self, allocation: str) -> tuple[str, ...]:
        return ()

    async def publish(self, table: Mapping[Published, tuple[Backend, ...]]) -> Mapping[Published, str]:
        return dict.fromkeys(table, "an app without a network publishes nothing")

    async def prune(self, keep: set[str]) -> None:
        for allocation in self._attached.keys() - keep:
            await self.detach(allocation)

    async def destroy(self) -> None:
        await self._run(self._destroy)

    async def _run(self, work: Callable[[], T]) -> T:
        """On a thread of its own: one that could not leave a namespace is never used again."""
        with ThreadPoolExecutor(1, "isolated") as thread:
            try:
                return await asyncio.get_running_loop().run_in_executor(thread, work)
            except (OSError, netns.Stranded) as error:
                raise Unavailable(f"a namespace without a network cannot be made: {error}") from error

    def _open(self) -> None:
        netns.prepare(self._pins)
        for pin in self._pins.iterdir():
            if netns.is_pinned(pin):
                self._attached[pin.name] = self._attachment(pin.name)
            else:
                netns.delete(pin)

    def _make(self, pin: Path) -> None:
        netns.delete(pin)  # A file that an attempt cut off in the middle left.
        netns.create(pin, _loopback_up)

    def _destroy(self) -> None:
        for pin in self._pins.iterdir() if self._pins.exists() else ():
            netns.delete(pin)
        netns.release(self._pins)
        self._attached = {}

    def _attachment(self, allocation: str) -> Attachment:
        return Attachment(allocation=allocation, ip="", netns=str(self._pins / allocation))


def _loopback_up() -> None:
    inside = Netlink()
    try:
        inside.transact(rtnetlink.set_up(rtnetlink.links(inside)["lo"].index))
    finally:
        inside.close()
