"""Volumes on a real disk: what a crash leaves, what the kernel refuses, who owns what."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hivemind.drivers.volumes import disk
from hivemind.drivers.volumes.commands import Failed, run
from hivemind.drivers.volumes.contract import PASSING, Wanted
from hivemind.drivers.volumes.local import LocalDriver, _only_vanished, copy_tree
from hivemind.drivers.volumes.mounts import mounted_at
from hivemind.drivers.volumes.seeding import open_subpath, seed
from hivemind.errors import Corrupt, Invalid

pytestmark = [pytest.mark.anyio, pytest.mark.real]
MIB = 2**20
LIMITED = Wanted(id="limited00001", size=32 * MIB)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[LocalDriver]:
    made = LocalDriver(tmp_path / "v")
    await made.open()
    yield made
    await made.destroy()
    assert str(tmp_path) not in await run("losetup", "-a")


async def test_a_limit_is_hard(driver: LocalDriver) -> None:
    real = await driver.make(LIMITED)
    with pytest.raises(OSError, match="No space left"):
        (real.path / "large").write_bytes(bytes(40 * MIB))
    assert os.stat(real.path.parent / "disk.img").st_size == 32 * MIB


async def test_a_new_daemon_finds_what_is_mounted_and_mounts_what_is_not(
    driver: LocalDriver, tmp_path: Path
) -> None:
    real = await driver.make(LIMITED)
    (real.path / "file").write_text("kept")
    device = mounted_at(real.path)
    again = LocalDriver(tmp_path / "v")
    await again.open()
    assert await again.find(LIMITED) and mounted_at(real.path) == device, "nothing is mounted twice"
    await run("umount", str(real.path))  # as a reboot does
    after = LocalDriver(tmp_path / "v")
    await after.open()
    assert await after.find(LIMITED)
    assert (real.path / "file").read_text() == "kept"


async def test_what_a_crash_left_half_made_is_swept_away_and_what_was_replaced_comes_back(
    driver: LocalDriver, tmp_path: Path
) -> None:
    real = await driver.make(LIMITED)
    (real.path / "file").write_text("kept")
    # In the middle of a replacement: the new one half made and mounted, the old one already aside.
    half = tmp_path / "v/new/1-1"
    (half / "data").mkdir(parents=True)
    await disk.make(half / "disk.img", 16 * MIB)
    await disk.mount(half / "disk.img", half / "data")
    await disk.unmount(real.path)
    (tmp_path / "v/volumes" / LIMITED.id).rename(tmp_path / "v/old" / LIMITED.id)
    again = LocalDriver(tmp_path / "v")
    await again.open()
    assert not list((tmp_path / "v/new").iterdir()) and not list((tmp_path / "v/old").iterdir())
    assert await again.find(LIMITED)
    assert (real.path / "file").read_text() == "kept"


async def test_a_freeze_that_a_crash_left_is_ended(driver: LocalDriver, tmp_path: Path) -> None:
    real = await driver.make(LIMITED)
    await run("fsfreeze", "--freeze", str(real.path))
    await LocalDriver(tmp_path / "v").open()
    (real.path / "file").write_text("writers go on")


async def test_a_damaged_file_system_is_told_and_left_alone(driver: LocalDriver) -> None:
    real = await driver.make(LIMITED)
    await disk.unmount(real.path)
    image = real.path.parent / "disk.img"
    with image.open("r+b") as file:
        file.seek(1024)
        file.write(bytes(4096))
    before = image.read_bytes()
    with pytest.raises(Corrupt) as told:
        await driver.find(LIMITED)
    assert "e2fsck" in told.value.hint
    assert image.read_bytes() == before


async def test_copies_keep_everything(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    os.chown(source, 7, 8)
    source.chmod(0o2750)
    (source / "file").write_text("x")
    os.link(source / "file", source / "same")
    (source / "link").symlink_to("/nowhere")
    os.setxattr(source / "file", "user.note", b"n")
    os.utime(source / "file", (1, 2))
    with (source / "holes").open("wb") as file:
        file.truncate(64 * MIB)
    await copy_tree(source, target)
    top = target.stat()
    assert (top.st_uid, top.st_gid, top.st_mode & 0o7777) == (7, 8, 0o2750)
    assert (target / "file").stat().st_ino == (target / "same").stat().st_ino
    assert os.readlink(target / "link") == "/nowhere"
    assert os.getxattr(target / "file", "user.note") == b"n"
    assert (target / "file").stat().st_mtime == 2
    assert (target / "holes").stat().st_blocks < 100


def image_with(tmp_path: Path) -> tuple[Path, Path]:
    """Two layers; the upper one hides a file of the lower one."""
    low, high = tmp_path / "low", tmp_path / "high"
    for layer in (low, high):
        (layer / "data").mkdir(parents=True)
        os.chown(layer / "data", 33, 44)
    (low / "etc").mkdir()
    (low / "etc/passwd").write_text("app:x:500:600::/:/bin/sh\n")
    (low / "data/first").write_text("1")
    (low / "data/hidden").write_text("2")
    subprocess.run(["mknod", high / "data/hidden", "c", "0", "0"], check=True)
    (low / "empty").mkdir()
    (low / "way").symlink_to("/data")
    return low, high


@pytest.mark.parametrize(
    ("target", "user", "owner", "files"),
    [
        ("/data", "app", (33, 44), {"first"}),
        ("/way", "", (33, 44), {"first"}),
        ("/empty", "app", (500, 600), set()),
        ("/empty", "", (0, 0), set()),
        ("/missing", "app", (500, 600), set()),
        ("/missing", "77:88", (77, 88), set()),
    ],
)
async def test_a_new_volume_takes_what_the_image_has_and_suits_its_user(
    tmp_path: Path, target: str, user: str, owner: tuple[int, int], files: set[str]
) -> None:
    place = tmp_path / "volume"
    place.mkdir()
    await seed(place, image_with(tmp_path), target, user, tmp_path / "scratch")
    found = place.stat()
    assert (found.st_uid, found.st_gid) == owner
    assert set(os.listdir(place)) == files
    assert not (tmp_path / "scratch").exists()


async def test_what_holds_something_keeps_it_and_its_owner(tmp_path: Path) -> None:
    place = tmp_path / "volume"
    place.mkdir()
    (place / "own").touch()
    os.chown(place, 9, 9)
    await seed(place, image_with(tmp_path), "/data", "app", tmp_path / "scratch")
    assert os.listdir(place) == ["own"] and place.stat().st_uid == 9
    with pytest.raises(Invalid):
        await seed(place, image_with(tmp_path / "b"), "/data", "nobody-here", tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()


def test_sub_paths_are_made_and_stay_inside(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "real").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    for name, goes in (
        ("abs", "/etc"),
        ("up", "../secret"),
        ("in", "real"),
        ("loop", "loop"),
        ("dead", "nothing"),
    ):
        (top / name).symlink_to(goes)
    (top / "file").touch()
    for path, inside in (("a/b", "a/b"), ("real/c", "real/c"), ("in/d", "real/d"), ("./a//b/", "a/b")):
        fd, _ = open_subpath(top, path)
        assert os.readlink(f"/proc/self/fd/{fd}") == str(top / inside)
        os.close(fd)
    for path in ("abs", "abs/passwd", "up", "up/x", "loop", "file", "file/x", "dead", "dead/x"):
        with pytest.raises(Invalid):
            os.close(open_subpath(top, path)[0])
    assert not list((tmp_path / "secret").iterdir())
    held = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(Invalid):
            open_subpath(top, "abs/x")
    assert len(os.listdir("/proc/self/fd")) == held


async def test_a_copy_that_is_given_up_leaves_nobody_waiting_and_nothing_behind(
    driver: LocalDriver, tmp_path: Path
) -> None:
    real = await driver.make(LIMITED)
    (real.path / "large").write_bytes(os.urandom(20 * MIB))
    work = asyncio.ensure_future(driver.snapshot(LIMITED, "s", busy=True))
    while not list((tmp_path / "v/new").glob("*/disk.img")):  # noqa: ASYNC110  # it is another process that makes it
        await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    (real.path / "more").write_text("writers go on")
    assert not list((tmp_path / "v/new").iterdir()) and not await driver.has_snapshot("s")


async def test_files_that_vanish_while_they_are_copied_are_left_out(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.mkdir()
    (source / "stays").touch()
    gone = commands_failed("cp: cannot stat '/a/x': No such file or directory")
    other = commands_failed("cp: cannot open '/a/x': Permission denied")
    assert _only_vanished(gone.said) and not _only_vanished(other.said) and not _only_vanished("")
    await copy_tree(source, tmp_path / "b")
    assert (tmp_path / "b/stays").exists()


def commands_failed(said: str) -> Failed:
    return Failed("cp", 1, said)


async def test_a_passing_snapshot_does_not_outlive_who_took_it(driver: LocalDriver, tmp_path: Path) -> None:
    """A clone, an export or a backup needs one for a while; nobody else would know of what a killed one leaves."""
    real = await driver.make(LIMITED)
    (real.path / "file").write_text("word")
    for snapshot in (f"{PASSING}copy-1", "agreed"):
        await driver.snapshot(LIMITED, snapshot, busy=True)
    async with driver.view(f"{PASSING}copy-1") as path:
        assert (path / "file").read_text() == "word"
        again = LocalDriver(tmp_path / "v")
        await again.open()
    assert not await again.has_snapshot(f"{PASSING}copy-1") and await again.has_snapshot("agreed")
    assert {place.name for place in (tmp_path / "v").glob("*/*")} == {LIMITED.id, "agreed"}
