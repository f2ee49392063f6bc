"""What is agreed about volumes: who gets which, where, and who may touch them."""

from __future__ import annotations

from typing import Any

import pytest

from hive import ADMIN, Hive
from hivemind.errors import Invalid
from hivemind.model.app import Update
from hivemind.model.backup import BackupTargetManifest
from hivemind.model.mount import VolumeMount
from hivemind.model.quantity import show_bytes
from hivemind.model.snapshot import SnapshotManifest
from hivemind.model.storage import StorageClassManifest
from hivemind.model.template import Resources
from hivemind.model.volume import (
    BackupPolicy,
    FromBackup,
    FromSnapshot,
    FromVolume,
    Volume,
    VolumeManifest,
)
from hivemind.state.operations import (
    DeleteApp,
    DeleteBackupTarget,
    DeleteSnapshot,
    DeleteStorageClass,
    DeleteVolume,
    DrainNode,
    PutBackupTarget,
    PutSnapshot,
    PutStorageClass,
    PutVolume,
    ReportVolumes,
    RestoreVolume,
    ScaleApp,
    StopApp,
    VolumeMade,
)
from hivemind.state.state import Outcome, State
from hivemind.state.volume_use import mentioned_by

MIB = 2**20
DATA = (VolumeMount(source="data", target="/data"),)
OWN = (VolumeMount(source="data", target="/data", per_replica=True),)


def create(hive: Hive, name: str = "data", *, refused: bool = False, **fields: Any) -> Outcome:
    manifest = VolumeManifest(name=name, **fields)
    return hive.do(PutVolume(project="default", manifest=manifest), refused=refused)


def remove(hive: Hive, name: str = "data", *, refused: bool = False) -> Outcome:
    return hive.do(DeleteVolume(project="default", name=name), refused=refused)


def volume(hive: Hive, name: str = "data") -> Volume:
    return hive.state.volumes[f"default/{name}"]


def homes(hive: Hive, name: str = "web") -> set[str]:
    return {a.node for a in hive.live(name)}


def test_a_volume_that_nobody_made_is_made_on_the_node_of_the_first_replica_and_keeps_the_others_there() -> (
    None
):
    hive = Hive(5)
    hive.deploy(replicas=4, mounts=DATA)
    [home] = homes(hive)
    assert volume(hive).node == home
    assert volume(hive).storage_class == "local"
    hive.settle()
    hive.do(ScaleApp(project="default", name="web", replicas=8))
    assert homes(hive) == {home}


def test_a_tied_replica_waits_with_a_reason_when_its_node_takes_nothing() -> None:
    hive = Hive(3)
    hive.deploy(mounts=DATA)
    hive.settle()
    [home] = homes(hive)
    hive.do(DrainNode(name=home))
    hive.settle()
    [waiting] = hive.live()
    assert waiting.node == ""
    assert waiting.reason == "0 of 3 nodes fit: 2 do not have volume data, 1 is drained"


def test_replicas_with_volumes_of_their_own_spread_and_come_back_to_them() -> None:
    hive = Hive(3)
    hive.deploy(replicas=3, mounts=OWN)
    hive.settle()
    assert len(homes(hive)) == 3
    before = {a.slot: a.node for a in hive.live()}
    assert {v.name: v.node for v in hive.state.volumes.values()} == {
        f"data-{s}": n for s, n in before.items()
    }
    hive.do(ScaleApp(project="default", name="web", replicas=0))
    hive.settle()
    assert len(hive.state.volumes) == 3, "they stay when the app is scaled down"
    hive.do(ScaleApp(project="default", name="web", replicas=3))
    hive.settle()
    assert {a.slot: a.node for a in hive.live()} == before


def test_two_apps_that_want_one_new_volume_meet_on_one_node() -> None:
    hive = Hive(4, cpus=2)
    hive.deploy("a", mounts=DATA)
    hive.deploy("b", mounts=DATA)
    assert homes(hive, "a") == homes(hive, "b")


def test_one_that_cannot_be_placed_does_not_keep_the_volume_from_others() -> None:
    hive = Hive(0)
    hive.deploy("small", mounts=DATA)
    hive.deploy("a-large", replicas=3, mounts=DATA, resources=Resources(memory=2**50))
    hive.join("n")
    hive.deploy("kick")
    assert homes(hive, "small") == {"n"}
    assert {a.node for a in hive.live("a-large")} == {""}
    assert all("lacks" in a.reason for a in hive.live("a-large"))


def test_what_is_used_cannot_be_removed_restored_or_made_smaller() -> None:
    hive = Hive()
    create(hive, size=64 * MIB)
    hive.deploy("db", mounts=DATA)
    hive.do(PutSnapshot(project="default", manifest=SnapshotManifest(name="s", volume="data")))
    for outcome in (
        remove(hive, refused=True),
        create(hive, size=32 * MIB, refused=True),
        hive.do(RestoreVolume(project="default", name="data", source=FromSnapshot(name="s")), refused=True),
    ):
        assert outcome.code == "conflict"
        assert "db.0" in outcome.message and "hivemind app stop db" in outcome.hint
    create(hive, size=128 * MIB)
    assert volume(hive).size == 128 * MIB, "it may grow while it is used"
    hive.do(StopApp(project="default", name="db"))
    hive.settle()
    create(hive, size=32 * MIB)
    hive.do(RestoreVolume(project="default", name="data", source=FromSnapshot(name="s")))
    assert volume(hive).content == 2
    stopped = remove(hive, refused=True)
    assert "is used by db" in stopped.message, "a stopped app comes back to its data"


def test_removing_an_app_keeps_its_volume_and_a_removed_volume_is_erased_by_its_node() -> None:
    hive = Hive()
    hive.deploy("db", mounts=DATA)
    hive.settle()
    hive.do(DeleteApp(project="default", name="db"))
    hive.settle()
    id = volume(hive).id
    assert mentioned_by(hive.state, volume(hive)) == []
    remove(hive)
    assert not hive.state.volumes and list(hive.state.discarded) == [id]
    create(hive)
    assert volume(hive).id != id, "the name is free at once, and means another volume"
    hive.do(ReportVolumes(node="node-0", gone=(id,)), by="node-0")
    assert not hive.state.discarded


def test_a_replica_s_own_volume_can_be_removed_once_its_slot_is_gone() -> None:
    hive = Hive()
    hive.deploy("db", replicas=2, mounts=OWN)
    hive.settle()
    hive.do(ScaleApp(project="default", name="db", replicas=1))
    hive.settle()
    assert mentioned_by(hive.state, volume(hive, "data-1")) == ["db"], "pruning spares it"
    assert "is used by db.0" in remove(hive, "data-0", refused=True).message
    remove(hive, "data-1")


def test_a_node_speaks_of_its_own_volumes_only() -> None:
    hive = Hive(2)
    create(hive, node="node-0")
    id = volume(hive).id
    remove(hive)
    hive.do(ReportVolumes(node="node-1", gone=(id,)), by="node-1")
    assert list(hive.state.discarded) == [id]
    hive.do(ReportVolumes(node="node-0", gone=(id,)), by="node-1", refused=True)
    hive.do(ReportVolumes(node="node-0", gone=(id,)), by=ADMIN, refused=True)


def test_a_copy_goes_where_its_source_is_and_guards_it_until_it_is_made() -> None:
    hive = Hive(3)
    create(hive, node="node-2", size=64 * MIB)
    create(hive, "copy", source=FromVolume(name="data"))
    copy = volume(hive, "copy")
    assert (copy.node, copy.size) == ("node-2", 64 * MIB)
    assert "still being copied" in remove(hive, refused=True).message
    assert create(hive, "far", source=FromVolume(name="data"), node="node-1", refused=True).code == "conflict"
    hive.do(ReportVolumes(node="node-2", made=(VolumeMade(id=copy.id, content=7),)), by="node-2")
    assert volume(hive, "copy").origin, "another generation is meant"
    hive.do(ReportVolumes(node="node-2", made=(VolumeMade(id=copy.id, content=1),)), by="node-2")
    assert volume(hive, "copy").origin is None
    remove(hive)


def test_a_snapshot_outlives_its_volume() -> None:
    hive = Hive()
    create(hive, size=64 * MIB)
    snapshot = PutSnapshot(project="default", manifest=SnapshotManifest(name="s", volume="data"))
    first = hive.do(snapshot)
    assert hive.do(snapshot).id == first.id, "asked again it is the same"
    assert (
        "already"
        in hive.do(
            PutSnapshot(project="default", manifest=snapshot.manifest, create_only=True), refused=True
        ).message
    )
    remove(hive)
    create(hive, "again", source=FromSnapshot(name="s"))
    assert volume(hive, "again").size == 64 * MIB
    gone = DeleteSnapshot(project="default", name="s")
    assert "still being made from it" in hive.do(gone, refused=True).message
    again = volume(hive, "again")
    hive.do(ReportVolumes(node="node-0", made=(VolumeMade(id=again.id, content=1),)), by="node-0")
    hive.do(gone)
    assert {d.kind for d in hive.state.discarded.values()} == {"volume", "snapshot"}


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ({}, {"size": 64 * MIB}, "cannot get one"),
        ({"size": 64 * MIB}, {}, "cannot lose it"),
        ({}, {"size": 1}, f"at least {show_bytes(16 * MIB)}"),
        ({}, {"storage_class": "nas"}, "cannot change"),
        ({}, {"backup": BackupPolicy(target="nowhere")}, "no backup target"),
        ({"node": "node-0"}, {"node": "node-1"}, "is on node node-0"),
    ],
)
def test_changes_that_make_no_sense_are_refused(
    before: dict[str, Any], after: dict[str, Any], says: str
) -> None:
    hive = Hive(2)
    create(hive, **before)
    outcome = create(hive, **after, refused=True)
    assert says in outcome.message + outcome.hint
    assert outcome.hint


def test_volumes_on_a_server_tie_nobody_down() -> None:
    hive = Hive(4)
    nas = StorageClassManifest(name="nas", driver="nfs", parameters={"server": "nas", "path": "/export"})
    hive.do(PutStorageClass(manifest=nas))
    create(hive, storage_class="nas")
    hive.deploy(replicas=4, mounts=DATA, update=Update(order="start-first"))
    assert len(homes(hive)) == 4
    assert "cannot limit" in create(hive, "b", storage_class="nas", size=64 * MIB, refused=True).message
    assert "is used by the volumes data" in hive.do(DeleteStorageClass(name="nas"), refused=True).message
    other = StorageClassManifest(name="nas", driver="nfs", parameters={"server": "b", "path": "/export"})
    assert "fixed" in hive.do(PutStorageClass(manifest=other), refused=True).message


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"server": "nas"},
        {"server": "-o x", "path": "/e"},
        {"server": "nas", "path": "e"},
        {"server": "nas", "path": "/e/../f"},
        {"server": "nas", "path": "/e", "speed": "high"},
        {"server": "nas", "path": "/e", "options": "soft, exec"},
    ],
)
def test_nfs_parameters_are_checked(parameters: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        StorageClassManifest(name="nas", driver="nfs", parameters=parameters).validate()


@pytest.mark.parametrize(
    "location",
    ["", "relative", "/", "/a/../b", "s3:host/bucket", "s3:https://host", "s3:https://u:p@h/b", "ftp://h/b"],
)
def test_places_for_backups_are_checked(location: str) -> None:
    with pytest.raises(Invalid):
        BackupTargetManifest(name="t", location=location, secret="s").validate()


def test_a_backup_target_stays_while_a_volume_is_backed_up_there() -> None:
    hive = Hive()
    target = BackupTargetManifest(name="nas", location="/mnt/nas", secret="backup")
    hive.do(PutBackupTarget(project="default", manifest=target))
    create(hive, backup=BackupPolicy(target="nas"))
    gone = DeleteBackupTarget(project="default", name="nas")
    assert "used by the volumes data" in hive.do(gone, refused=True).message
    create(hive)
    create(hive, "back", source=FromBackup(target="nas", id="0123456789abcdef"))
    assert "used by the volumes back" in hive.do(gone, refused=True).message
    back = volume(hive, "back")
    hive.do(ReportVolumes(node="node-0", made=(VolumeMade(id=back.id, content=1),)), by="node-0")
    hive.do(gone)


def test_everything_survives_a_snapshot_of_the_state() -> None:
    hive = Hive(2)
    hive.deploy("db", replicas=2, mounts=OWN)
    create(hive, "copy", source=FromVolume(name="data-0"))
    hive.do(PutSnapshot(project="default", manifest=SnapshotManifest(name="s", volume="data-1")))
    again = State.restore(hive.state.snapshot())
    assert again.digest() == hive.state.digest()
    assert again.volumes["default/copy"] == volume(hive, "copy")
