"""A filter that was compiled for one container holds in the next one as well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import debimage
import pytest

import oci_leftovers
from hivemind.drivers.images.archive import load
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec, LogQuery
from hivemind.drivers.runtimes.oci import filters
from hivemind.drivers.runtimes.oci.runtime import OciRuntime

pytestmark = [pytest.mark.real, pytest.mark.anyio]

TRY = """
grep -E 'Seccomp|NoNewPrivs' /proc/self/status | tr -d '\\t'
unshare -U true 2>&1 || true
"""
"""What it shows of its filters, and what it is refused by one."""


class Place:
    """A runtime of one kind with an image, and where it keeps things."""

    def __init__(self, path: Path, runtime: OciRuntime, kind: str, digest: str) -> None:
        self.path, self.runtime, self.kind, self.digest = path, runtime, kind, digest

    async def start(self, id: str) -> dict[str, Any]:
        """Its OCI configuration. It runs on after it has tried."""
        script = f"{TRY}\necho done\nsleep 1000"
        await self.runtime.create(ContainerSpec(id=id, image=self.digest, args=("sh", "-c", script)))
        await self.runtime.start(id)
        configuration = self.path / "state" / "containers" / id / "config.json"
        found: dict[str, Any] = json.loads(configuration.read_text())
        return found

    async def shown(self, id: str) -> list[str]:
        lines: list[str] = []
        async with asyncio.timeout(30):
            async for line in self.runtime.logs(id, LogQuery(follow=True)):
                if line.text == "done":
                    break
                lines.append(line.text)
        return lines

    def compiled(self, id: str) -> bytes:
        return (self.path / "run" / self.kind / id / "seccomp.bpf").read_bytes()


@pytest.fixture(params=["crun", "runc"])
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    monkeypatch.setattr(filters, "_compiled", {})
    images = Images(ImageStore(tmp_path / "images"))
    await images.open()
    digest = load(images.store, debimage.build("busybox"))[0].digest
    with oci_leftovers.noted(tmp_path):
        runtime = OciRuntime(tmp_path / "state", tmp_path / "run", images, runtime=request.param)
        await runtime.open()
        yield Place(tmp_path, runtime, request.param, digest)
        await runtime.destroy()


async def test_the_second_container_is_filtered_as_the_first(place: Place) -> None:
    first, second = [await place.start(id) for id in ("one.0", "two.0")]
    lines = await place.shown("one.0")
    assert "Seccomp:2" in lines and "NoNewPrivs:1" in lines
    assert any("not permitted" in line for line in lines)
    assert await place.shown("two.0") == lines

    assert second["linux"]["seccomp"] == first["linux"]["seccomp"]
    assert "annotations" not in first
    if place.kind == "crun":
        assert second["annotations"]
        assert place.compiled("two.0") == place.compiled("one.0")
    else:
        assert "annotations" not in second


async def test_a_command_inside_the_second_is_filtered_too(place: Place) -> None:
    for id in ("one.0", "two.0"):
        await place.start(id)
    session = await place.runtime.exec("two.0", ExecSpec(args=("sh", "-c", TRY)))
    said = b""
    async with asyncio.timeout(30):
        while chunk := await session.read():
            said += chunk[1]
        assert await session.wait() == 0
    await session.close()
    assert b"Seccomp:2" in said
    assert b"not permitted" in said
