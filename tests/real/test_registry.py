"""Pulling from a real registry, Debian's docker-registry, plain and behind TLS and passwords."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from debimage import build
from ociarchive import Layer, write_archive
from tests.private_registry import Registry, running

from hivemind.drivers.images.archive import load
from hivemind.drivers.images.blobs import Incoming
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.registry import pull
from hivemind.drivers.images.room import Room
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.contract import PullProgress
from hivemind.errors import Corrupt, NotFound, Unauthenticated, Unavailable

pytestmark = pytest.mark.real


@pytest.fixture(params=[False, True], ids=["plain", "tls+password"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    with running(tmp_path / "registry", request.param) as registry:
        yield registry


def opened(path: Path) -> ImageStore:
    store = ImageStore(path)
    store.open()
    return store


@pytest.mark.anyio
async def test_a_real_image_comes_over(tmp_path: Path, registry: Registry) -> None:
    source, store = opened(tmp_path / "source"), opened(tmp_path / "images")
    (pushed,) = load(source, build("nginx"))
    registry.push(source, pushed.digest, "team/nginx", "1")
    seen: list[PullProgress] = []
    image = await Images(store, registry.keyring).pull(f"{registry.host}/team/nginx:1", seen.append)
    assert (image.digest, image.config, image.layers) == (pushed.digest, pushed.config, pushed.layers)
    assert seen[-1].stage == "done" and seen[-1].done == seen[-1].total == image.size
    (layer,) = store.layers(image.digest)
    assert (layer / "usr/sbin/nginx").stat().st_mode & 0o777 == 0o755
    with pytest.raises(NotFound, match="has no image"):
        await Images(store, registry.keyring).pull(f"{registry.host}/team/nginx:2")
    with pytest.raises(NotFound, match="has no image"):
        await Images(store, registry.keyring).pull(f"{registry.host}/team/other:1")


@pytest.mark.anyio
async def test_strangers_stay_outside(tmp_path: Path) -> None:
    with running(tmp_path / "registry", secure=True) as registry:
        source, store = opened(tmp_path / "source"), opened(tmp_path / "images")
        (pushed,) = load(source, build("busybox"))
        registry.push(source, pushed.digest, "busybox", "1")
        name = f"{registry.host}/busybox:1"
        with pytest.raises(Unauthenticated, match="without an account"):
            await Images(store, registry.known_to()).pull(name)
        with pytest.raises(Unauthenticated, match="'ann'"):
            await Images(store, registry.known_to("ann", "open")).pull(name)
        (tmp_path / "other").mkdir()
        other = Registry(tmp_path / "other", secure=True)
        with pytest.raises(Unavailable, match="not trusted") as caught:
            await Images(store, other.known_to()).pull(name)
        assert "--ca" in caught.value.hint
        assert (await Images(store, registry.keyring).pull(name)).digest == pushed.digest


@pytest.mark.anyio
async def test_a_rotten_blob_is_not_taken(tmp_path: Path, registry: Registry) -> None:
    source, store = opened(tmp_path / "source"), opened(tmp_path / "images")
    (pushed,) = load(source, build("busybox"))
    registry.push(source, pushed.digest, "busybox", "1")
    blob = json.loads(source.blobs.read(pushed.digest, 2**22))["layers"][0]["digest"]
    with registry.file_of(blob).open("r+b") as file:
        file.seek(1000)
        file.write(b"rotten")
    with pytest.raises(Corrupt, match=blob):
        await Images(store, registry.keyring).pull(f"{registry.host}/busybox:1")
    assert store.list() == [] and not store.blobs.has(blob)


def test_a_registry_that_dies_in_the_middle(tmp_path: Path, registry: Registry) -> None:
    source, store = opened(tmp_path / "source"), opened(tmp_path / "images")
    layer = Layer()
    layer.file("big", hashlib.shake_128(b"big").digest(32 * 2**20))
    write_archive(tmp_path / "big.tar", [layer], {}, "docker.io/library/big:1", compress=False)
    (pushed,) = load(source, tmp_path / "big.tar")
    registry.push(source, pushed.digest, "big", "1")

    def die(progress: PullProgress) -> None:
        if progress.done > 2**20:
            registry.kill()

    name = f"{registry.host}/big:1"
    with pytest.raises(Unavailable):
        pull(store, name, registry.keyring, die, threading.Event())
    assert store.list() == [] and list(store.blobs.incoming.iterdir()) == []
    registry.start()
    image = pull(store, name, registry.keyring, lambda _: None, threading.Event())
    assert image.digest == pushed.digest


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def grow(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


@pytest.mark.anyio
async def test_a_disk_that_fills_up_in_the_middle(tmp_path: Path, registry: Registry) -> None:
    """Nothing of the image is left, nothing else is harmed, and with room it comes."""
    source = opened(tmp_path / "source")
    layer = Layer()
    layer.file("big", hashlib.shake_128(b"big").digest(24 * 2**20))
    write_archive(tmp_path / "big.tar", [layer], {}, "docker.io/library/big:1", compress=False)
    (pushed,) = load(source, tmp_path / "big.tar")
    registry.push(source, pushed.digest, "big", "1")
    with small_disk(tmp_path / "disk", "16m") as disk:
        store = opened(disk / "images")
        images = Images(store, registry.keyring)
        with pytest.raises(Unavailable, match="is full") as caught:
            await images.pull(f"{registry.host}/big:1")
        assert "free space" in caught.value.hint
        assert store.list() == [] and store.usage() == 0 and list(store.blobs.incoming.iterdir()) == []
        grow(disk, "100m")
        image = await images.pull(f"{registry.host}/big:1")
        assert [path.joinpath("big").stat().st_size for path in store.layers(image.digest)] == [24 * 2**20]


@pytest.mark.anyio
async def test_pulling_stops_before_the_disk_is_full(tmp_path: Path, registry: Registry) -> None:
    source = opened(tmp_path / "source")
    layer = Layer()
    layer.file("big", hashlib.shake_128(b"big").digest(24 * 2**20))
    write_archive(tmp_path / "big.tar", [layer], {}, "docker.io/library/big:1", compress=False)
    (pushed,) = load(source, tmp_path / "big.tar")
    registry.push(source, pushed.digest, "big", "1")
    with small_disk(tmp_path / "disk", "64m") as disk:
        store = opened(disk / "images")
        room = Room(disk, 32 * 2**20)
        store.blobs.check_room = room.check
        # The blob fits beside the reserve, the unpacked layer does not.
        with pytest.raises(Unavailable, match="nearly full"):
            await Images(store, registry.keyring).pull(f"{registry.host}/big:1")
        assert store.list() == [] and room.free() > 32 * 2**20


@pytest.mark.anyio
async def test_pushes_what_the_registry_lacks_and_pulls_it_back(tmp_path: Path, registry: Registry) -> None:
    source, store = opened(tmp_path / "source"), opened(tmp_path / "images")
    (image,) = load(source, build("nginx"))
    source.tag(image.digest, f"{registry.host}/team/nginx:7")
    pushing = Images(source, registry.keyring)
    seen: list[PullProgress] = []
    await pushing.push(f"{registry.host}/team/nginx:7", seen.append)
    assert seen[-1].stage == "done" and seen[-1].done == seen[-1].total == image.size
    await pushing.push(f"{registry.host}/team/nginx:7")
    back = await Images(store, registry.keyring).pull(f"{registry.host}/team/nginx:7")
    assert (back.digest, back.layers) == (image.digest, image.layers)
    pinned = await Images(store, registry.keyring).pull(f"{registry.host}/team/nginx@{image.digest}")
    assert pinned == back
    with pytest.raises(NotFound, match="no image"):
        await pushing.push(f"{registry.host}/team/nginx:8")
    if registry.secure:
        with pytest.raises(Unauthenticated):
            await Images(source, registry.known_to("ann", "open")).push(f"{registry.host}/team/nginx:7")


@pytest.mark.anyio
async def test_two_pulls_of_one_layer_at_once(tmp_path: Path, registry: Registry) -> None:
    """Two images share their only large layer: it is fetched once, whoever is first."""
    source, store = opened(tmp_path / "source"), opened(tmp_path / "images")
    shared = Layer()
    shared.file("big", hashlib.shake_128(b"shared").digest(8 * 2**20))
    for number in (1, 2):
        own = Layer()
        own.file("own", str(number))
        write_archive(tmp_path / "i.tar", [shared, own], {}, f"docker.io/library/i:{number}", compress=False)
        (pushed,) = load(source, tmp_path / "i.tar")
        registry.push(source, pushed.digest, "i", str(number))
    images = Images(store, registry.keyring)

    async def pull(number: int) -> None:
        await images.pull(f"{registry.host}/i:{number}")

    real = store.blobs.receive_rest
    fetched: list[str] = []

    @contextmanager
    def counted(digest: str) -> Iterator[Incoming]:
        with real(digest) as incoming:
            fetched.append(digest)
            yield incoming

    store.blobs.receive_rest = counted  # type: ignore[method-assign]
    await asyncio.gather(pull(1), pull(2))
    assert len(fetched) == len(set(fetched)) == 5 and len(store.list()) == 2
