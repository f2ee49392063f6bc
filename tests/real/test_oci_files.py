"""Copies into a real container's volume whose numbers are mapped, and into one that is read-only."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import debimage
import pytest

import oci_leftovers
from hivemind.drivers.images.archive import load
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec, Mount
from hivemind.drivers.runtimes.oci.runtime import OciRuntime
from hivemind.errors import Invalid

pytestmark = [pytest.mark.real, pytest.mark.anyio]


@pytest.fixture
async def images(tmp_path: Path) -> Images:
    found = Images(ImageStore(tmp_path / "images"))
    await found.open()
    return found


@pytest.fixture
async def runtime(tmp_path: Path, images: Images) -> AsyncIterator[OciRuntime]:
    with oci_leftovers.noted(tmp_path):
        runtime = OciRuntime(tmp_path / "state", tmp_path / "run", images)
        await runtime.open()
        try:
            yield runtime
        finally:
            await runtime.destroy()


async def archive(uid: int) -> AsyncIterator[bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        info = tarfile.TarInfo("sub/file")
        info.size, info.uid, info.gid, info.mode = 5, uid, uid, 0o600
        made.addfile(info, io.BytesIO(b"hello"))
    yield out.getvalue()


async def said(runtime: OciRuntime, id: str, script: str) -> bytes:
    session = await runtime.exec(id, ExecSpec(args=("sh", "-c", script)))
    out = b""
    while (item := await session.read()) is not None:
        out += item[1]
    await session.close()
    return out


async def test_on_a_mapped_volume_numbers_are_those_inside_and_on_disk(
    runtime: OciRuntime, images: Images, tmp_path: Path
) -> None:
    volume, fixed = tmp_path / "volume", tmp_path / "fixed"
    volume.mkdir()
    fixed.mkdir()
    spec = ContainerSpec(
        id="files.0",
        image=load(images.store, debimage.build("busybox"))[0].digest,
        args=("sh", "-c", "while :; do sleep 0.1; done"),
        mounts=(
            Mount(target="/data", source=str(volume), idmap=True),
            Mount(target="/fixed", source=str(fixed), readonly=True),
        ),
    )
    await runtime.create(spec)
    await runtime.start(spec.id)
    await runtime.write_files(spec.id, "/data", archive(33))
    assert (
        await said(runtime, spec.id, "stat -c '%u %g %a' /data/sub/file; stat -c %u /data/sub")
        == b"33 33 600\n0\n"
    )
    assert (os.stat(volume / "sub" / "file").st_uid, os.stat(volume / "sub").st_uid) == (33, 0)
    data = b"".join([chunk async for chunk in runtime.read_files(spec.id, "/data/sub/file")])
    with tarfile.open(fileobj=io.BytesIO(data)) as made:
        (info,) = made.getmembers()
    assert (info.uid, info.gid, info.name) == (33, 33, "file")
    with pytest.raises(Invalid, match="read-only"):
        await runtime.write_files(spec.id, "/fixed", archive(0))
    assert list(fixed.iterdir()) == []
