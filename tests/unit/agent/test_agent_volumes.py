"""What a node does about its volumes: it makes them as agreed, says what it sees, and never hides a loss."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent_rig import NODE, Rig, rig
from hivemind.agent.provision.backups import Backups
from hivemind.agent.provision.mounting import Mounting
from hivemind.agent.provision.volumes import Volumes
from hivemind.drivers.volumes.fake import FakeDriver
from hivemind.errors import Conflict, NotFound, Unavailable
from hivemind.model.app import AppSpec
from hivemind.model.backup import BackupTargetManifest
from hivemind.model.mount import BindMount, TmpfsMount, VolumeMount
from hivemind.model.project import ProjectManifest
from hivemind.model.snapshot import SnapshotManifest
from hivemind.model.volume import (
    BackupPolicy,
    FromBackup,
    FromSnapshot,
    FromVolume,
    Origin,
    Source,
    Volume,
    VolumeManifest,
    VolumeStatus,
)
from hivemind.state.operations import (
    DeleteSnapshot,
    DeleteVolume,
    Operation,
    PutBackupTarget,
    PutProject,
    PutSnapshot,
    PutVolume,
    ReportVolumes,
    RestoreVolume,
)
from hivemind.state.state import Outcome
from hivemind.store.events import EventLog
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio
MIB = 2**20


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


class Node:
    """Volumes of a node whose driver outlives it."""

    def __init__(self, box: Rig, root: Path) -> None:
        self.box = box
        self.driver = FakeDriver(root / "disk")
        self.root = root

    async def start(self) -> None:
        box = self.box
        self.volumes = Volumes(
            node=NODE, state=box.hive.state, store=box.store,
            events=EventLog(box.store, NODE, box.loop.milliseconds), drivers={"local": self.driver},
            submit=self._submit, clock=box.loop.milliseconds,
        )  # fmt: skip
        await self.volumes.start()

    async def _submit(self, operation: ReportVolumes) -> Outcome:
        return self.do(operation, by=NODE)

    def do(self, operation: Operation, by: str = "admin-key") -> Outcome:
        outcome = self.box.hive.do(operation, by=by)
        self.volumes.agreed()
        return outcome

    def create(self, name: str = "v", size: int = 0, source: Source | None = None) -> Volume:
        manifest = VolumeManifest(name=name, size=size, source=source)
        self.do(PutVolume(project="default", manifest=manifest))
        return self.volume(name)

    def volume(self, name: str = "v") -> Volume:
        return self.box.hive.state.volumes[f"default/{name}"]

    def status(self, name: str = "v") -> VolumeStatus:
        return self.volumes.status(self.volume(name))

    async def ready(self, name: str = "v") -> Path:
        def is_ready() -> bool:
            status = self.status(name)
            return status.phase == "ready" and status.content == self.volume(name).content

        await self.box.until(is_ready)
        return Path(self.status(name).path)


@asynccontextmanager
async def node(path: Path) -> AsyncIterator[Node]:
    async with rig(path) as box:
        made = Node(box, path)
        await made.start()
        try:
            yield made
        finally:
            await made.volumes.stop()


async def test_what_is_agreed_is_made_and_what_is_removed_is_erased_and_told(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        id = here.create(size=64 * MIB).id
        path = await here.ready()
        assert path.is_dir() and here.status().size == 64 * MIB
        here.do(DeleteVolume(project="default", name="v"))
        await here.box.until(lambda: not here.box.hive.state.discarded)
        assert here.driver.erased == [id] and not path.exists()
        assert here.box.store.get(f"volume/{id}") is None


async def test_what_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        here.driver.trouble = Unavailable("the disk is full", hint="make room")
        here.create()
        await here.box.until(lambda: here.status().phase == "failed")
        assert here.status().message == "the disk is full (make room)"
        here.driver.trouble = None
        await here.ready()
        assert here.status().message == ""


async def test_files_that_are_gone_are_not_replaced_by_nothing(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        here.create()
        await here.ready()
        here.do(PutSnapshot(project="default", manifest=SnapshotManifest(name="s", volume="v")))
        await here.box.until(lambda: "s" in str(list(here.box.hive.state.snapshots)))
        snapshot = here.box.hive.state.snapshots["default/s"]
        await here.box.until(lambda: here.volumes.snapshot_status(snapshot).phase == "ready")
        await here.volumes.stop()
        shutil.rmtree(here.driver._real.pop(here.volume().id).path)
        await here.start()
        await here.box.until(lambda: here.status().phase == "failed")
        assert "its files are gone" in here.status().message
        here.do(RestoreVolume(project="default", name="v", source=FromSnapshot(name="s")))
        await here.ready()


async def test_other_content_is_made_and_reported_and_a_restart_in_the_middle_goes_on(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        here.create()
        (await here.ready() / "file").write_text("first")
        here.do(PutSnapshot(project="default", manifest=SnapshotManifest(name="s", volume="v")))
        snapshot = here.box.hive.state.snapshots["default/s"]
        await here.box.until(lambda: here.volumes.snapshot_status(snapshot).phase == "ready")
        assert here.volumes.snapshot_status(snapshot).consistency == "stopped"
        (here.driver._root / here.volume().id / "file").write_text("second")

        here.do(RestoreVolume(project="default", name="v", source=FromSnapshot(name="s")))
        await asyncio.sleep(0)
        await here.volumes.stop()
        await here.start()
        path = await here.ready()
        assert (path / "file").read_text() == "first"
        await here.box.until(lambda: here.volume().origin is None)
        here.create("copy", source=FromVolume(name="v"))
        assert (await here.ready("copy") / "file").read_text() == "first"
        await here.box.until(lambda: here.volume("copy").origin is None)
        here.do(DeleteSnapshot(project="default", name="s"))
        await here.box.until(lambda: snapshot.id in here.driver.erased)


async def test_what_another_node_says_of_a_volume_moves_nothing_here(tmp_path: Path) -> None:
    """That its files are there although they are not, that it was backed up just now, or something without sense."""
    async with node(tmp_path) as here:
        here.create()
        await here.ready()
        known = here.volume()
        elsewhere = replace(known, node="another")
        here.box.hive.state.tables.put(here.box.hive.state.volumes, known.key, elsewhere)
        assert here.status() == VolumeStatus()
        here.box.hive.state.tables.put(here.box.hive.state.volumes, known.key, known)
        assert here.status().phase == "ready"
        here.box.store.put(f"volume/{known.id}", b"without sense")
        assert here.status() == VolumeStatus()


async def test_a_limit_that_does_not_hold_is_told_and_the_volume_stays_usable(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        here.create(size=64 * MIB)
        path = await here.ready()
        (path / "file").write_bytes(bytes(30 * MIB))
        here.create(size=16 * MIB)
        await here.box.until(lambda: here.status().message)
        assert (here.status().phase, here.status().size) == ("ready", 64 * MIB)
        (path / "file").unlink()
        await here.box.until(lambda: here.status().size == 16 * MIB)
        assert here.status().message == ""


async def test_containers_get_volumes_paths_and_memory(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        mounts = (
            VolumeMount(source="v", target="/v", readonly=True),
            VolumeMount(source="own", target="/own", per_replica=True),
            BindMount(source=str(tmp_path), target="/b"),
            TmpfsMount(target="/t", size=5, mode=0o700),
        )
        here.do(PutProject(manifest=ProjectManifest(name="default", permissions=("bind", "processes"))))
        here.box.hive.deploy(mounts=mounts, image="", command=("x",), runtime="process")
        here.volumes.agreed()
        [allocation] = here.box.hive.allocations()
        spec = here.box.hive.state.spec_of(allocation)
        provider = Mounting(here.volumes, NoImages(), tmp_path / "run")
        got = (await provider.provide(allocation, spec, spec, "")).mounts
        v, own = (await here.ready()), (await here.ready("own-0"))
        assert [(m.target, m.source, m.readonly, m.idmap) for m in got] == [
            ("/v", str(v), True, True),
            ("/own", str(own), False, True),
            ("/b", str(tmp_path), False, False),
            ("/t", "", False, False),
        ]
        assert (got[3].size, got[3].mode) == (5, 0o700)
        assert (await provider.provide(allocation, spec, spec, "")).mounts == got
        missing = AppSpec(command=("x",), mounts=(BindMount(source="/not/there", target="/b"),))
        with pytest.raises(NotFound):
            await provider.provide(allocation, missing, missing, "")
        await provider.release(allocation.id)
        await provider.prune(set())


async def test_nobody_gets_a_volume_that_is_still_being_filled(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def fetch(volume: Volume, origin: Origin, place: Path) -> None:
            begun.set()
            await go_on.wait()
            (place / "file").touch()

        here.volumes.restore = fetch
        target = BackupTargetManifest(name="t", location="/b", secret="s")
        here.do(PutBackupTarget(project="default", manifest=target))
        here.create(source=FromBackup(target="t", id="0123456789"))
        await begun.wait()
        assert here.status().phase == "making"
        with pytest.raises(Unavailable):
            await here.volumes.use(here.volume())
        with pytest.raises(Conflict):
            async with here.volumes.frozen(here.volume(), "test"):
                pass
        go_on.set()
        assert (await here.ready() / "file").exists()
        await here.box.until(lambda: here.volume().origin is None)
        await here.volumes.use(here.volume())


async def test_backups_are_due_by_what_was_seen_and_a_failure_is_told_and_tried_sooner(
    tmp_path: Path,
) -> None:
    async with node(tmp_path) as here:
        asked: list[float] = []

        def secrets(project: str, name: str) -> dict[str, bytes]:
            asked.append(here.box.loop.time())
            raise NotFound(f"there is no secret {name}")

        backups = Backups(here.volumes, secrets, "hive", tmp_path / "backups")
        backups.start()
        target = BackupTargetManifest(name="t", location="/b", secret="s")
        here.do(PutBackupTarget(project="default", manifest=target))
        manifest = VolumeManifest(name="v", backup=BackupPolicy(target="t", every=86400))
        here.do(PutVolume(project="default", manifest=manifest))
        backups.agreed()
        await here.ready()
        await here.box.until(lambda: here.status().backup, 3 * 3600)
        assert here.status().backup and here.status().backup.error == "there is no secret s"
        assert here.status().backed_up == 0
        await here.box.until(lambda: len(asked) >= 3, 2 * 3600)
        assert 890 <= asked[2] - asked[1] <= 910


class NoImages:
    def find(self, reference: str) -> None:
        return None

    def layers(self, digest: str) -> tuple[Path, ...]:
        raise AssertionError("nobody has images here")
