"""This node's volumes: makes what is there match what the hive agreed, and says what it sees.

Level-triggered like the allocations' workers: each look at a volume or snapshot compares the agreed record with
what the driver finds, does what is missing and looks again. A daemon that is killed goes on where it was.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from msgspec.structs import replace

from hivemind.drivers.volumes.contract import PASSING, Consistency, Fill, Real, VolumeDriver, Wanted
from hivemind.drivers.volumes.local import copy_tree
from hivemind.errors import Conflict, HivemindError, NotFound, Unavailable
from hivemind.model.base import encode
from hivemind.model.snapshot import Snapshot, SnapshotStatus
from hivemind.model.volume import Discarded, Origin, Volume, VolumeStatus
from hivemind.state.operations import ReportVolumes, VolumeMade
from hivemind.state.state import Outcome, State
from hivemind.state.storage import keeper, storage_class
from hivemind.state.volume_use import held_by
from hivemind.store.contract import Store
from hivemind.store.events import EventLog
from hivemind.store.said import said

log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds until something that failed is tried again."""
_USED_EVERY = 60.0
"""Seconds between two looks at how full the volumes are."""

Restore = Callable[[Volume, Origin, Path], Awaitable[None]]
"""Fetches a backup into a directory."""


class Volumes:
    """`start`, then `agreed` after each batch, then `stop`."""

    def __init__(
        self,
        *,
        node: str,
        state: State,
        store: Store,
        events: EventLog,
        drivers: Mapping[str, VolumeDriver],
        submit: Callable[[ReportVolumes], Awaitable[Outcome]],
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.node = node
        self.state = state
        self.clock = clock
        self.restore: Restore | None = None
        """Set by whoever knows how to fetch backups."""
        self._store = store
        self._events = events
        self._drivers = drivers
        self._submit = submit
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._looks: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        for driver in self._drivers.values():
            await driver.open()
        self._forget_strangers()
        for key in (*self.state.volumes, *self.state.snapshots):
            self._look_at(key)
        for id in self.state.discarded:
            self._look_at(id)
        self.spawn(self._measure())

    async def stop(self) -> None:
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=1.0)
        for driver in self._drivers.values():
            await driver.close()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a task of the volumes failed", exc_info=error)

    def _forget_strangers(self) -> None:
        known = {v.id for v in self.state.volumes.values()} | {s.id for s in self.state.snapshots.values()}
        for entry in [*self._store.range("volume/"), *self._store.range("snapshot/")]:
            if entry.writer == self.node and entry.key.partition("/")[2] not in known:
                self._store.delete(entry.key)

    def agreed(self) -> None:
        """To be called after each batch, with the state's changes still there."""
        released = set()
        for change in self.state.changes:
            if change.table in ("volumes", "snapshots"):
                if change.new is None:
                    self._forget(f"{change.table.removesuffix('s')}/{change.old.id}")
                self._look_at(change.key)
            elif change.table == "discarded" and change.new:
                self._look_at(change.key)
            elif change.table == "allocations" and change.old and not (change.new and change.new.live):
                released.add(change.old.project)
        if released:
            self._released(released)

    def _forget(self, key: str) -> None:
        """What another node observed, it forgets itself."""
        entry = self._store.get(key)
        if entry is not None and entry.writer == self.node:
            self._store.delete(key)

    def _released(self, projects: set[str]) -> None:
        """What could not be resized while it was used."""
        for volume in self.state.volumes.values():
            if volume.project in projects and self.status(volume).size != volume.size:
                self._look_at(volume.key)

    # -- looking ---------------------------------------------------------------------------------------------

    def _look_at(self, key: str) -> None:
        """`<project>/<name>` of a volume or snapshot, or the id of what was discarded."""
        again = self._looks.get(key)
        if again:
            again.set()
            return
        self._looks[key] = asyncio.Event()
        self.spawn(self._looking(key))

    async def _looking(self, key: str) -> None:
        """Until it is as agreed. Whatever fails is tried again, sooner if something changes."""
        pause, again = _FIRST_PAUSE, self._looks[key]
        try:
            while True:
                again.clear()
                try:
                    await self._look(key)
                except (HivemindError, OSError) as error:
                    log.warning("%s: %s", key, error)
                    try:
                        async with asyncio.timeout(pause):
                            await again.wait()
                    except TimeoutError:
                        pass
                    pause = min(pause * 2, _LONGEST_PAUSE)
                    continue
                if not again.is_set():
                    return
        finally:
            del self._looks[key]

    async def _look(self, key: str) -> None:
        if volume := self._mine(self.state.volumes.get(key)):
            await self._keep_volume(volume)
        if (snapshot := self.state.snapshots.get(key)) and snapshot.node == self.node:
            await self._keep_snapshot(snapshot)
        if (left := self.state.discarded.get(key)) and left.node == self.node:
            await self._erase(left)

    def _mine(self, volume: Volume | None) -> Volume | None:
        return volume if volume and volume.node == self.node else None

    # -- volumes ---------------------------------------------------------------------------------------------

    async def _keep_volume(self, volume: Volume) -> None:
        try:
            async with self.locked(volume.id):
                real = await self._real(volume)
                trouble = await self._fit(volume, real)
                real = await self.driver(volume).find(self.wanted(volume)) or real
        except (HivemindError, OSError) as error:
            hint = f" ({error.hint})" if isinstance(error, HivemindError) and error.hint else ""
            if self.observe(volume, phase="failed", message=f"{error}{hint}"):
                self.event(volume, "volume.failed", str(error), warning=True)
            raise
        fresh = self.observe(
            volume, phase="ready", content=real.content, size=real.size, path=str(real.path),
            message=trouble.message if trouble else "",
        )  # fmt: skip
        if fresh:
            self.event(volume, "volume.ready", trouble.message if trouble else "", warning=bool(trouble))
            await self.measure(volume)
        if volume.origin:
            made = VolumeMade(id=volume.id, content=volume.content)
            (await self._submit(ReportVolumes(node=self.node, made=(made,)))).raise_for_error()
        if trouble:
            raise trouble

    async def _real(self, volume: Volume) -> Real:
        """What is agreed, whatever it takes. The lock is held."""
        driver, wanted = self.driver(volume), self.wanted(volume)
        real = await driver.find(wanted)
        if real and real.content >= volume.content:
            return real
        if volume.origin:
            self.observe(volume, phase="restoring" if volume.content > 1 else "making", message="")
            return await driver.make(wanted, self._fill(volume, volume.origin))
        seen = self.status(volume)
        if real is None and seen.content == volume.content and seen.path:
            raise NotFound(
                f"its files are gone from {seen.path}",
                hint="restore it from a snapshot or a backup, or remove it: hivemind volume rm",
            )
        return real or await driver.make(wanted)

    async def _fit(self, volume: Volume, real: Real) -> HivemindError | None:
        """The limit that was agreed, or why it does not hold yet: that is no reason not to use the volume."""
        if real.size == volume.size or not (real.size and volume.size):
            return None
        try:
            busy = bool(held_by(self.state, volume))
            await self.driver(volume).resize(self.wanted(volume), busy=busy)
        except HivemindError as error:
            return error
        return None

    def _fill(self, volume: Volume, origin: Origin) -> Fill:
        async def fill(place: Path) -> None:
            if origin.kind == "backup":
                if self.restore is None:
                    raise Unavailable("this node cannot fetch backups")
                await self.restore(volume, origin, place)
            elif origin.kind == "snapshot":
                async with self._local().view(origin.id) as source:
                    await copy_tree(source, place)
            else:
                source_volume = self.by_id(origin.id)
                async with self.frozen(source_volume, "copy") as (source, _):
                    await copy_tree(source, place)

        return fill

    @asynccontextmanager
    async def frozen(self, volume: Volume, purpose: str) -> AsyncIterator[tuple[Path, Consistency]]:
        """The files of a volume as they are at one moment (or as near to that as its driver comes), for a while."""
        driver, id = self.driver(volume), f"{PASSING}{purpose}-{volume.id}"
        if not self.status(volume).path:
            raise Conflict(f"volume {volume.name!r} is not ready", hint="hivemind volume inspect says why")
        async with self.locked(id):
            async with self.locked(volume.id):
                busy = bool(held_by(self.state, volume))
                consistency = await driver.snapshot(self.wanted(volume), id, busy=busy)
            try:
                async with driver.view(id) as path:
                    yield path, consistency
            finally:
                await asyncio.shield(driver.erase_snapshot(id))

    async def use(self, volume: Volume) -> tuple[Real, VolumeDriver, Wanted]:
        """The volume for a container that starts. Raises `Unavailable` while it is not what was agreed."""
        driver, wanted = self.driver(volume), self.wanted(volume)
        if volume.node != self.node and not storage_class(self.state, volume.storage_class).shared:
            raise Unavailable(f"volume {volume.name!r} is on another node")
        if volume.origin:
            raise Unavailable(f"volume {volume.name!r} is still being filled: {self.status(volume).message}")
        real = await self._real(volume)
        return real, driver, wanted

    @asynccontextmanager
    async def locked(self, id: str, patience: float | None = None) -> AsyncIterator[None]:
        """One at a time works on a volume. Raises `Unavailable` after `patience` seconds."""
        lock = self._locks.get(id) or self._locks.setdefault(id, asyncio.Lock())
        try:
            async with asyncio.timeout(patience):
                await lock.acquire()
        except TimeoutError:
            raise Unavailable("the volume is just being worked on", hint="it is tried again") from None
        try:
            yield
        finally:
            lock.release()

    # -- snapshots, erasing ----------------------------------------------------------------------------------

    async def _keep_snapshot(self, snapshot: Snapshot) -> None:
        driver = self._local()
        seen = self.snapshot_status(snapshot)
        if await driver.has_snapshot(snapshot.id):
            if seen.phase != "ready":
                used = await driver.snapshot_used(snapshot.id)
                taken = seen.taken or snapshot.created
                found = replace(seen, phase="ready", used=used, taken=taken, message="")
                self._put(f"snapshot/{snapshot.id}", found)
            return
        if seen.phase == "ready":
            lost = replace(seen, phase="failed", message="its files are gone from this node's disk")
            self._put(f"snapshot/{snapshot.id}", lost)
            return
        try:
            volume = self.by_id(snapshot.volume)
            async with self.locked(volume.id):
                taken = self.clock()
                busy = bool(held_by(self.state, volume))
                consistency = await driver.snapshot(self.wanted(volume), snapshot.id, busy=busy)
            used = await driver.snapshot_used(snapshot.id)
        except (HivemindError, OSError) as error:
            self._put(f"snapshot/{snapshot.id}", SnapshotStatus(phase="failed", message=str(error)))
            raise
        status = SnapshotStatus(phase="ready", taken=taken, used=used, consistency=consistency)
        self._put(f"snapshot/{snapshot.id}", status)
        self.event(volume, "volume.snapshot", f"snapshot {snapshot.name} ({consistency})")

    async def _erase(self, left: Discarded) -> None:
        async with self.locked(left.id):
            driver = self._drivers[left.driver]
            if left.kind == "snapshot":
                await driver.erase_snapshot(left.id)
            else:
                await driver.erase(Wanted(id=left.id, parameters=left.parameters))
        (await self._submit(ReportVolumes(node=self.node, gone=(left.id,)))).raise_for_error()

    # -- how full --------------------------------------------------------------------------------------------

    async def _measure(self) -> None:
        while True:
            await asyncio.sleep(_USED_EVERY)
            for volume in list(self.state.volumes.values()):
                if volume.node == self.node:
                    await self.measure(volume)

    async def measure(self, volume: Volume) -> None:
        """Looks how full it is."""
        if self.status(volume).phase != "ready":
            return
        try:
            self.observe(volume, used=await self.driver(volume).used(self.wanted(volume)))
        except (HivemindError, OSError) as error:
            log.warning("volume %s: %s", volume.name, error)

    # -- records ---------------------------------------------------------------------------------------------

    def wanted(self, volume: Volume) -> Wanted:
        kind = storage_class(self.state, volume.storage_class)
        return Wanted(id=volume.id, size=volume.size, content=volume.content, parameters=kind.parameters)

    def driver(self, volume: Volume) -> VolumeDriver:
        return self._drivers[storage_class(self.state, volume.storage_class).driver]

    def _local(self) -> VolumeDriver:
        return self._drivers["local"]

    def by_id(self, id: str) -> Volume:
        for volume in self.state.volumes.values():
            if volume.id == id:
                return volume
        raise NotFound("the volume is gone")

    def status(self, volume: Volume) -> VolumeStatus:
        seen = said(self._store.get(f"volume/{volume.id}"), VolumeStatus, keeper(self.state, volume))
        return seen or VolumeStatus()

    def snapshot_status(self, snapshot: Snapshot) -> SnapshotStatus:
        seen = said(self._store.get(f"snapshot/{snapshot.id}"), SnapshotStatus, snapshot.node)
        return seen or SnapshotStatus()

    def observe(self, volume: Volume, **changes: Any) -> bool:
        """Writes what is new; whether its phase, content, size or message is."""
        if self.state.volumes.get(volume.key, volume).id != volume.id or volume.key not in self.state.volumes:
            return False
        old = self.status(volume)
        new = replace(old, **changes)
        if new == old and old.observed:
            return False
        self._put(f"volume/{volume.id}", replace(new, observed=self.clock()))
        told = ("phase", "content", "size", "message")
        return any(getattr(new, name) != getattr(old, name) for name in told)

    def _put(self, key: str, status: VolumeStatus | SnapshotStatus) -> None:
        self._store.put(key, encode(status))

    def event(self, volume: Volume, type: str, message: str, *, warning: bool = False) -> None:
        self._events.append(
            type, message, level="warning" if warning else "info", project=volume.project, name=volume.name
        )
