"""The NFS driver as far as a machine without an NFS server can tell: commands, refusals, where volumes lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind.drivers.volumes import commands, nfs
from hivemind.drivers.volumes.commands import Failed
from hivemind.drivers.volumes.contract import Wanted
from hivemind.drivers.volumes.mounts import Mounted
from hivemind.drivers.volumes.nfs import NfsDriver, mount_words
from hivemind.errors import Unavailable, Unsupported

pytestmark = pytest.mark.anyio
NAS = {"server": "nas.example", "path": "/export/hive"}
WANTED = Wanted(id="v", parameters=NAS)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("parameters", "options", "source"),
    [
        (NAS, "nodev,nosuid", "nas.example:/export/hive"),
        ({**NAS, "options": "vers=4.2,soft"}, "nodev,nosuid,vers=4.2,soft", "nas.example:/export/hive"),
        ({"server": "fd00::1", "path": "/e"}, "nodev,nosuid", "[fd00::1]:/e"),
    ],
)
def test_what_mount_is_told(parameters: dict[str, str], options: str, source: str) -> None:
    assert mount_words(parameters, Path("/m")) == ("-t", "nfs", "-o", options, source, "/m")


async def test_a_kernel_without_a_client_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = tmp_path / "filesystems"
    kinds.write_text("nodev\tproc\n\text4\n")
    monkeypatch.setattr(nfs, "find", lambda command: f"/sbin/{command}")
    driver = NfsDriver(tmp_path / "nfs", "node", filesystems=kinds)
    await driver.open()
    with pytest.raises(Unsupported, match="no NFS client"):
        await driver.find(WANTED)
    await driver.destroy()
    assert not (tmp_path / "nfs").exists()


async def test_without_the_tools_it_is_said_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_PATH", str(tmp_path))
    driver = NfsDriver(tmp_path / "nfs", "node")
    await driver.open()
    with pytest.raises(Unsupported) as told:
        await driver.make(WANTED)
    assert told.value.hint == "apt install nfs-common"


async def test_volumes_are_directories_below_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mount is played: whatever would be mounted there is a directory."""
    kinds, asked = tmp_path / "filesystems", []
    kinds.write_text("nodev\tnfs4\n")

    async def run(command: str, *words: str, **more: object) -> str:
        asked.append((command, *words))
        if "away" in words[-2]:
            raise Failed("mount", 32, "Connection timed out")
        return ""

    monkeypatch.setattr(nfs, "find", lambda command: command)
    monkeypatch.setattr(nfs, "run", run)
    monkeypatch.setattr(nfs, "mounted_at", lambda point: Mounted(point, "nas") if asked else None)
    driver = NfsDriver(tmp_path / "nfs", "node", filesystems=kinds)
    await driver.open()
    real = await driver.make(WANTED)
    [(_, *words)] = asked
    assert words[:2] == ["-t", "nfs"] and Path(words[-1]).parent == tmp_path / "nfs"
    assert real.path == Path(words[-1]) / "hivemind/volumes/v/data"
    (real.path / "file").touch()
    assert (await driver.find(WANTED)) == real
    assert await driver.snapshot(WANTED, "backup", busy=True) == "live"
    async with driver.view("backup") as path:
        assert (path / "file").exists()
    await driver.erase_snapshot("backup")
    await driver.erase(WANTED)
    assert await driver.find(WANTED) is None
    with pytest.raises(Unsupported):
        await driver.make(Wanted(id="w", size=1 << 30, parameters=NAS))
    asked.clear()
    with pytest.raises(Unavailable, match="timed out"):
        await driver.find(Wanted(id="v", parameters={"server": "away", "path": "/e"}))
