"""Files of a container from outside, what it changed, and its processes."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hivemind.drivers.runtimes.contract import ExecSpec, FileChange, Runtime
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound, Unsupported

if TYPE_CHECKING:
    from tests.contract.runtimes.conftest import Bench

pytestmark = pytest.mark.anyio
with_real_files = pytest.mark.without("fake")
isolated = pytest.mark.without("fake", "process")
FOREVER = "echo ready; while :; do sleep 0.05; done"


@pytest.fixture
async def id(bench: Bench, runtime: Runtime) -> str:
    spec = bench.spec(FOREVER)
    await runtime.create(spec)
    await runtime.start(spec.id)
    return spec.id


@pytest.fixture
def place(runtime: Runtime, tmp_path: Path) -> str:
    """A directory inside that a test may write to; a plain command has only the machine's."""
    if runtime.name != "process":
        return "/tmp"
    (tmp_path / "place").mkdir()
    return str(tmp_path / "place")


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 700):
        yield data[start : start + 700]


def archive(*files: tuple[str, bytes], **fields: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o640
            for key, value in fields.items():
                setattr(info, key, value)
            made.addfile(info, io.BytesIO(content))
    return out.getvalue()


async def taken(runtime: Runtime, id: str, path: str) -> dict[str, bytes]:
    data = b"".join([chunk async for chunk in runtime.read_files(id, path)])
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as made:
        for info in made:
            content = made.extractfile(info) if info.isreg() else None
            found[info.name] = content.read() if content else b""
    return found


async def inside(runtime: Runtime, id: str, script: str) -> bytes:
    session = await runtime.exec(id, ExecSpec(args=("sh", "-c", script)))
    found = b""
    async with asyncio.timeout(20):
        while (item := await session.read()) is not None:
            found += item[1]
    await session.close()
    return found


async def test_what_is_put_in_comes_out_again(runtime: Runtime, id: str, place: str) -> None:
    content = os.urandom(300_000)
    await runtime.write_files(id, place, pieces(archive(("new/deep/file", content), ("top", b"t"))))
    assert (await taken(runtime, id, f"{place}/top")) == {"top": b"t"}
    assert (await taken(runtime, id, f"{place}/new"))["new/deep/file"] == content
    await runtime.write_files(id, place, pieces(archive(("top", b"replaced"))))
    assert (await taken(runtime, id, f"{place}/top")) == {"top": b"replaced"}


@with_real_files
async def test_the_container_sees_what_was_put_in(runtime: Runtime, id: str, place: str) -> None:
    await runtime.write_files(id, place, pieces(archive(("file", b"hello"))))
    assert await inside(runtime, id, f"cat {place}/file; stat -c '%u %a' {place}/file") == b"hello0 640\n"


@with_real_files
async def test_owners_are_those_inside(runtime: Runtime, id: str, place: str) -> None:
    await runtime.write_files(id, place, pieces(archive(("file", b"x"), uid=33, gid=44)))
    assert await inside(runtime, id, f"stat -c '%u %g' {place}/file") == b"33 44\n"


async def test_what_is_not_there_is_not_found(runtime: Runtime, id: str, place: str) -> None:
    with pytest.raises(NotFound):
        await taken(runtime, id, f"{place}/nothing")
    with pytest.raises(NotFound):
        await runtime.write_files(id, f"{place}/nothing", pieces(archive(("x", b""))))
    with pytest.raises(NotFound):
        await taken(runtime, "nobody.0", "/etc/hosts")
    with pytest.raises(NotFound):
        await runtime.write_files("nobody.0", "/tmp", pieces(archive(("x", b""))))


async def test_what_would_land_outside_is_refused(runtime: Runtime, id: str, place: str) -> None:
    for bad in (archive(("../evil", b"x")), archive(("a/../../evil", b"x"))):
        with pytest.raises(Invalid):
            await runtime.write_files(id, place, pieces(bad))
    for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
        with pytest.raises(Invalid):
            await runtime.write_files(id, place, pieces(archive(("device", b""), type=kind)))
    with pytest.raises(Invalid):
        await runtime.write_files(id, place, pieces(b"rubbish" * 1000))


@isolated
async def test_links_inside_lead_nowhere_outside(
    runtime: Runtime, id: str, place: str, tmp_path: Path
) -> None:
    """A container makes links to files of the machine; whoever copies gets the container's, or nothing."""
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    await inside(runtime, id, f"ln -s {secret} /tmp/out; ln -s {tmp_path} /tmp/dir; ln -s /etc /tmp/own")
    assert "of the host" not in str(await taken(runtime, id, "/tmp/out"))
    with pytest.raises(NotFound):
        await taken(runtime, id, "/tmp/dir/secret")
    assert (await taken(runtime, id, "/tmp/own/passwd"))["passwd"] == (
        await taken(runtime, id, "/etc/passwd")
    )["passwd"]
    with pytest.raises(HivemindError):
        await runtime.write_files(id, "/tmp/dir", pieces(archive(("evil", b"x"))))
    with pytest.raises(HivemindError):
        await runtime.write_files(id, "/tmp", pieces(archive(("dir/evil", b"x"))))
    await runtime.write_files(id, "/tmp", pieces(archive(("out", b"mine"))))
    assert secret.read_text() == "of the host"
    assert not (tmp_path / "evil").exists()


async def test_changes_are_told(runtime: Runtime, id: str) -> None:
    if runtime.name == "process":
        with pytest.raises(Unsupported):
            await runtime.changes(id)
        return
    assert await runtime.changes(id) == []
    await runtime.write_files(
        id, "/etc", pieces(archive(("new", b"x"), ("passwd", b"root:x:0:0::/:/bin/sh\n")))
    )
    found = await runtime.changes(id)
    assert FileChange("added", "/etc/new") in found
    assert FileChange("changed", "/etc/passwd") in found
    assert [change.path for change in found] == ["/etc", "/etc/new", "/etc/passwd"]
    if runtime.name == "fake":
        return
    await inside(runtime, id, "rm /etc/group; rm -r /usr/share; mkdir -p /usr/share/mine")
    told = {change.path: change.kind for change in await runtime.changes(id)}
    assert told["/etc/group"] == "deleted"
    assert told["/usr/share/mine"] == "added"
    assert not any(path.startswith("/proc") or path == "/dev" for path in told)


async def test_processes_are_told(runtime: Runtime, id: str) -> None:
    session = await runtime.exec(id, ExecSpec(args=("sh", "-c", "echo up; read line"), stdin=True))
    try:
        assert await session.read() == ("stdout", b"up\n")
        found = await runtime.processes(id)
    finally:
        await session.close()
    assert any("read line" in told.command for told in found)
    main = next(told for told in found if "ready" in told.command)
    assert main.user == "root" and main.state in "RSD" and main.memory > 0
    assert abs(main.started - time.time() * 1000) < 60_000


@pytest.mark.without("fake", "process", "containerd")
async def test_what_the_ended_left_can_be_copied_and_compared(
    bench: Bench, runtime: Runtime, tmp_path: Path
) -> None:
    """To see why it died. A volume is not part of it; nothing of the machine can be reached by its links."""
    (tmp_path / "secret").write_text("of the host")
    script = f"echo why > /tmp/core; chown 33:44 /tmp/core; rm /etc/group; ln -s {tmp_path}/secret /tmp/out; exit 1"
    spec = bench.spec(script)
    await runtime.create(spec)
    await runtime.start(spec.id)
    await runtime.wait(spec.id)
    for again in (False, True):
        daemon = await bench.open() if again else runtime
        await daemon.wait(spec.id)
        found = [taken(daemon, spec.id, "/tmp/core") for _ in range(4)]
        assert await asyncio.gather(*found) == [{"core": b"why\n"}] * 4
        data = b"".join([chunk async for chunk in daemon.read_files(spec.id, "/tmp/core")])
        with tarfile.open(fileobj=io.BytesIO(data)) as made:
            (info,) = made
            assert (info.uid, info.gid) == (33, 44)
        assert "root" in (await taken(daemon, spec.id, "/etc/passwd"))["passwd"].decode()
        with pytest.raises(NotFound):
            await taken(daemon, spec.id, "/etc/group")
        with pytest.raises(HivemindError):
            await taken(daemon, spec.id, f"{tmp_path}/secret")
        assert "of the host" not in str(await taken(daemon, spec.id, "/tmp/out"))
        assert FileChange("deleted", "/etc/group") in await daemon.changes(spec.id)
    await daemon.remove(spec.id)
    with pytest.raises(NotFound):
        await taken(daemon, spec.id, "/etc/passwd")


async def test_the_ended_has_no_processes(runtime: Runtime, id: str) -> None:
    await runtime.stop(id, "SIGKILL", 0)
    with pytest.raises(Conflict):
        await runtime.processes(id)
    with pytest.raises(NotFound):
        await runtime.processes("nobody.0")
