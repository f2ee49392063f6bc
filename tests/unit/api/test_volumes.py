"""Volumes over the API, as the client sees them."""

from __future__ import annotations

import pytest

from hivemind.errors import Conflict, Forbidden, Invalid, NotFound, Stale
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.backup import BackupTargetManifest
from hivemind.model.mount import VolumeMount
from hivemind.model.snapshot import SnapshotManifest
from hivemind.model.storage import StorageClassManifest
from hivemind.model.volume import BackupPolicy, FromSnapshot, VolumeManifest
from tests.unit.api.backend import OPERATOR, VIEWER
from tests.unit.api.conftest import Running

MIB = 2**20


def test_a_volume_s_life(running: Running) -> None:
    hive = running.local
    made = hive.volumes.create(VolumeManifest(name="data", size=64 * MIB))
    assert (made.size, made.limit, made.used_by, made.status.phase) == (64 * MIB, 64 * MIB, (), "pending")
    with pytest.raises(Conflict, match="already"):
        hive.volumes.create(VolumeManifest(name="data"))
    spec = AppSpec(image="web:1", mounts=(VolumeMount(source="data", target="/d"),))
    hive.apps.deploy(AppManifest(name="web", spec=spec))
    assert hive.volumes.get("data").used_by == ("web",)
    with pytest.raises(Conflict, match=r"web\.0"):
        hive.volumes.delete("data")
    grown = hive.volumes.put(VolumeManifest(name="data", size=65 * MIB), if_version=made.version)
    assert grown.version == made.version + 1
    with pytest.raises(Stale):
        hive.volumes.put(VolumeManifest(name="data", size=66 * MIB), if_version=made.version)
    taken = hive.snapshots.create(SnapshotManifest(name="s", volume="data"))
    assert (taken.volume, taken.status.phase) == ("data", "pending")
    with pytest.raises(Conflict, match="used by"):
        hive.volumes.restore("data", FromSnapshot(name="s"))
    hive.volumes.create(VolumeManifest(name="copy", source=FromSnapshot(name="s")))
    with pytest.raises(NotFound):
        hive.volumes.restore("copy", FromSnapshot(name="missing"))
    assert [v.name for v in hive.volumes.list()] == ["copy", "data"]
    steps = hive.volumes.plan(VolumeManifest(name="more"))
    assert [(s.action, s.object) for s in steps] == [("create", "volume more")]


def test_tars_go_in_and_out(running: Running) -> None:
    hive = running.local
    hive.volumes.create(VolumeManifest(name="data"))
    with pytest.raises(Conflict, match="not ready"):
        list(hive.volumes.export("data"))
    hive.volumes.bring("data", [b"one", b"two"])
    assert b"".join(hive.volumes.export("data")) == b"onetwo"
    with pytest.raises(Conflict, match="holds something"):
        hive.volumes.bring("data", [b"x"])
    hive.volumes.bring("data", [b"x"], replace=True)
    assert b"".join(hive.volumes.export("data")) == b"x"
    with pytest.raises(NotFound):
        hive.volumes.bring("missing", [b"x"])


def test_backups(running: Running) -> None:
    hive = running.local
    with pytest.raises(Invalid, match="not a place"):
        hive.backup_targets.create(BackupTargetManifest(name="bad", location="ftp:x", secret="s"))
    hive.backup_targets.create(BackupTargetManifest(name="nas", location="/mnt/nas", secret="s"))
    hive.volumes.create(VolumeManifest(name="data", backup=BackupPolicy(target="nas")))
    with pytest.raises(Conflict, match="not ready"):
        list(hive.volumes.back_up("data"))
    hive.volumes.bring("data", [b"x"])
    [*_, last] = hive.volumes.back_up("data", verify=True)
    assert last.result and (last.done, last.result.target) == (1.0, "nas")
    assert [b.id for b in hive.backup_targets.backups("nas", volume="data")] == [last.result.id]
    assert hive.backup_targets.backups("nas", volume="other") == []
    hive.volumes.create(VolumeManifest(name="plain"))
    with pytest.raises(Conflict, match="no backup target"):
        list(hive.volumes.back_up("plain"))
    with pytest.raises(Conflict, match="used by"):
        hive.backup_targets.delete("nas")


def test_who_may_what(running: Running) -> None:
    running.local.volumes.create(VolumeManifest(name="data"))
    running.local.volumes.bring("data", [b"secret"])
    viewer, operator = running.remote(VIEWER), running.remote(OPERATOR)
    assert viewer.volumes.get("data").name == "data"
    for forbidden in (
        lambda: list(viewer.volumes.export("data")),
        lambda: viewer.volumes.bring("data", [b"x"]),
        lambda: viewer.volumes.delete("data"),
        lambda: list(viewer.volumes.back_up("data", target="nas")),
        lambda: operator.storage_classes.create(StorageClassManifest(name="c", driver="local")),
        lambda: operator.backup_targets.create(BackupTargetManifest(name="t", location="/etc", secret="s")),
    ):
        with pytest.raises(Forbidden):
            forbidden()
    operator.volumes.delete("data")


def test_storage_classes(running: Running) -> None:
    hive = running.local
    assert [c.name for c in hive.storage_classes.list()] == ["local"]
    with pytest.raises(Invalid, match="needs the parameter server"):
        hive.storage_classes.create(StorageClassManifest(name="nas", driver="nfs"))
    parameters = {"server": "nas", "path": "/export"}
    hive.storage_classes.create(StorageClassManifest(name="nas", driver="nfs", parameters=parameters))
    hive.volumes.create(VolumeManifest(name="data", storage_class="nas"))
    assert {c.name: c.volumes for c in hive.storage_classes.list()} == {"local": 0, "nas": 1}
    with pytest.raises(Forbidden):
        hive.storage_classes.delete("local")
