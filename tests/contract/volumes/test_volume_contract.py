"""What every volume driver does alike."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from hivemind.drivers.volumes.commands import run
from hivemind.drivers.volumes.contract import VolumeDriver, Wanted
from hivemind.drivers.volumes.fake import FakeDriver
from hivemind.drivers.volumes.local import LocalDriver
from hivemind.drivers.volumes.mounts import mounted_below
from hivemind.errors import Conflict, HivemindError, NotFound

pytestmark = pytest.mark.anyio
MIB = 2**20
PLAIN = Wanted(id="plain0000001")
LIMITED = Wanted(id="limited00001", size=32 * MIB)
Make = Callable[[], VolumeDriver]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["fake", pytest.param("local", marks=pytest.mark.real)])
async def driver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VolumeDriver]:
    root = tmp_path / "volumes"
    made: VolumeDriver = FakeDriver(root) if request.param == "fake" else LocalDriver(root)
    await made.open()
    yield made
    await made.destroy()
    assert not root.exists()
    assert not mounted_below(tmp_path)
    assert str(tmp_path) not in await run("losetup", "-a")


@pytest.fixture(params=["plain", "limited"])
def wanted(request: pytest.FixtureRequest) -> Wanted:
    return PLAIN if request.param == "plain" else LIMITED


async def test_it_is_made_empty_found_again_and_erased(driver: VolumeDriver, wanted: Wanted) -> None:
    assert await driver.find(wanted) is None
    real = await driver.make(wanted)
    assert (real.content, real.size, real.seeded) == (1, wanted.size, False)
    assert os.listdir(real.path) == []
    (real.path / "file").write_text("kept")
    await driver.seeded(wanted)
    again = await driver.find(wanted)
    assert again and again.seeded and (again.path / "file").read_text() == "kept"
    assert again.path == real.path
    assert await driver.used(wanted) > 0
    await driver.erase(wanted)
    await driver.erase(wanted)
    assert await driver.find(wanted) is None
    assert not real.path.exists()


async def test_a_snapshot_keeps_what_was_and_outlives_the_volume(
    driver: VolumeDriver, wanted: Wanted
) -> None:
    real = await driver.make(wanted)
    (real.path / "file").write_text("before")
    assert not await driver.has_snapshot("s")
    assert await driver.snapshot(wanted, "s", busy=False) == "stopped"
    busy = await driver.snapshot(wanted, "t", busy=True)
    assert busy == ("crash" if wanted.size else "live")
    (real.path / "file").write_text("after")
    await driver.erase(wanted)
    assert await driver.has_snapshot("s") and await driver.snapshot_used("s") > 0
    async with driver.view("s") as one, driver.view("s") as other:
        assert (one / "file").read_text() == (other / "file").read_text() == "before"
    await driver.erase_snapshot("s")
    await driver.erase_snapshot("t")
    with pytest.raises(NotFound):
        async with driver.view("s"):
            pass


async def test_new_content_comes_whole_or_not_at_all(driver: VolumeDriver, wanted: Wanted) -> None:
    real = await driver.make(wanted)
    (real.path / "old").touch()
    newer = Wanted(id=wanted.id, size=wanted.size, content=2)

    async def broken(place: Path) -> None:
        (place / "half").touch()
        raise Conflict("it broke off")

    with pytest.raises(Conflict):
        await driver.make(newer, broken)
    found = await driver.find(newer)
    assert found and found.content == 1 and os.listdir(found.path) == ["old"]

    async def whole(place: Path) -> None:
        (place / "new").touch()

    found = await driver.make(newer, whole)
    assert found.content == 2 and os.listdir(found.path) == ["new"]
    assert found.path == real.path


async def test_limits_change_but_are_neither_given_nor_taken(driver: VolumeDriver) -> None:
    real = await driver.make(LIMITED)
    (real.path / "file").write_bytes(b"x" * (20 * MIB))
    grown = Wanted(id=LIMITED.id, size=64 * MIB)
    assert (await driver.resize(grown, busy=False)).size == 64 * MIB
    with pytest.raises(Conflict):
        await driver.resize(Wanted(id=LIMITED.id, size=16 * MIB), busy=False)
    found = await driver.find(grown)
    assert found and found.size == 64 * MIB
    assert (found.path / "file").read_bytes() == b"x" * (20 * MIB), "what does not fit is left as it was"
    with pytest.raises(Conflict):
        await driver.resize(Wanted(id=LIMITED.id, size=32 * MIB), busy=True)
    assert (await driver.resize(Wanted(id=LIMITED.id, size=56 * MIB), busy=False)).size == 56 * MIB
    with pytest.raises(Conflict):
        await driver.resize(Wanted(id=LIMITED.id), busy=False)
    await driver.make(PLAIN)
    with pytest.raises(Conflict):
        await driver.resize(Wanted(id=PLAIN.id, size=32 * MIB), busy=False)


async def test_what_is_not_there_is_said_to_be(driver: VolumeDriver) -> None:
    for ask in (driver.used(PLAIN), driver.seeded(PLAIN), driver.resize(LIMITED, busy=False)):
        with pytest.raises(NotFound):
            await ask
    with pytest.raises(HivemindError):
        await driver.snapshot(PLAIN, "s", busy=False)
    assert not await driver.has_snapshot("s")
