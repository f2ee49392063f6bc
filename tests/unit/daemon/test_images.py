"""What a node does about its images: which may go, which must stay, and what it says about the disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from ociarchive import Layer, write_archive

from hive import Hive
from hivemind.daemon.images import NodeImages
from hivemind.daemon.keyring import HiveKeyring
from hivemind.drivers.images.archive import load
from hivemind.drivers.images.blobs import NoRoom
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.contract import Container, Status
from hivemind.errors import Conflict
from hivemind.model.base import encode
from hivemind.model.image import Image
from hivemind.model.image_registry import Credential, RegistryManifest, sealing_context
from hivemind.security.sealing import Vault
from hivemind.state.operations import PutRegistry

MIB = 2**20


class Runtime:
    def __init__(self) -> None:
        self.uses: list[str] = []

    async def list(self) -> list[Container]:
        return [Container(id=d, status=Status.EXITED, image=d) for d in self.uses]


class Events:
    def __init__(self) -> None:
        self.types: list[str] = []

    def append(self, type: str, message: str = "", **more: Any) -> None:
        self.types.append(type)


class Scene:
    def __init__(self, tmp_path: Path, **more: Any) -> None:
        self.hive = Hive()
        self.runtime, self.events = Runtime(), Events()
        store = ImageStore(tmp_path / "images")
        store.open()
        self.archive = tmp_path / "i.tar"
        self.now = 1000.0
        self.desk = NodeImages(
            Images(store), self.hive.state, {"oci": self.runtime}, self.events, "node-1",  # type: ignore[arg-type, dict-item]
            now=lambda: self.now, **more,
        )  # fmt: skip

    def bring(self, name: str, used: float) -> Image:
        """An image of about a MiB, twice on the disk, that was last wanted then."""
        layer = Layer()
        layer.file("data", hashlib.shake_128(name.encode()).digest(MIB))
        write_archive(self.archive, [layer], {}, f"docker.io/library/{name}", compress=False)
        (image,) = load(self.desk.store.store, self.archive)
        os.utime(self.desk.store.store.blobs.path(image.digest), (used, used))
        return image

    def names(self) -> set[str]:
        return {n.removeprefix("docker.io/library/") for i in self.desk.list() for n in i.names}


@pytest.mark.anyio
async def test_beyond_the_budget_the_longest_unused_goes_first(tmp_path: Path) -> None:
    scene = Scene(tmp_path, budget=7 * MIB, fresh=100.0)
    for used, name in enumerate(["oldest:1", "old:1", "kept:1", "running:1", "recent:1"], 100):
        scene.bring(name, used)
    scene.hive.deploy(image="kept:1")
    running = scene.desk.find("running:1")
    assert running
    scene.runtime.uses = [running.digest]
    await scene.desk.look()
    assert scene.names() == {"kept:1", "running:1", "recent:1"}
    assert scene.events.types == ["image.collected", "image.collected"]
    assert scene.desk.store.store.usage() <= 7 * MIB
    await scene.desk.look()
    assert len(scene.events.types) == 2


@pytest.mark.anyio
async def test_what_somebody_just_wanted_stays_even_beyond_the_budget(tmp_path: Path) -> None:
    scene = Scene(tmp_path, budget=MIB, fresh=100.0)
    scene.bring("old:1", 10)
    scene.bring("new:1", 950)
    await scene.desk.look()
    assert scene.names() == {"new:1"}
    scene.now = 2000
    await scene.desk.look()
    assert scene.names() == set()


@pytest.mark.anyio
async def test_old_revisions_keep_their_images_for_a_roll_back(tmp_path: Path) -> None:
    scene = Scene(tmp_path, budget=1, fresh=0.0)
    scene.bring("web:1", 10)
    scene.bring("web:2", 20)
    scene.hive.deploy(image="web:1")
    scene.hive.deploy(image="web:2")
    await scene.desk.look()
    assert scene.names() == {"web:1", "web:2"}
    pruned = await scene.desk.prune(True)
    assert pruned.images == [] and scene.names() == {"web:1", "web:2"}


@pytest.mark.anyio
async def test_a_disk_without_room_is_told_once_and_again_when_it_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, reserve=10 * MIB, fresh=0.0)
    scene.bring("used:1", 10)
    scene.hive.deploy(image="used:1")
    free = 5 * MIB
    monkeypatch.setattr(scene.desk._room, "free", lambda: free)
    with pytest.raises(NoRoom, match="nearly full"):
        scene.desk.store.store.blobs.check_room(1)
    for _ in range(2):
        await scene.desk.look()
    assert scene.events.types == ["node.disk-low"] and "nearly full" in scene.desk.problems[0]
    assert scene.names() == {"used:1"}
    free = 50 * MIB
    await scene.desk.look()
    assert scene.events.types == ["node.disk-low", "node.disk-ok"] and scene.desk.problems == ()


@pytest.mark.anyio
async def test_room_is_made_of_what_is_unused(tmp_path: Path) -> None:
    scene = Scene(tmp_path, fresh=0.0)
    scene.bring("unused:1", 10)
    assert await scene.desk.make_room(NoRoom("full"))
    assert scene.names() == set()
    assert not await scene.desk.make_room(NoRoom("full"))


@pytest.mark.anyio
async def test_removing_and_pruning_spare_what_is_used(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for name in ("app:1", "running:1", "idle:1"):
        scene.bring(name, 10)
    scene.hive.deploy(image="app:1")
    running = scene.desk.find("running:1")
    assert running
    scene.runtime.uses = [running.digest]
    with pytest.raises(Conflict, match="used by web"):
        await scene.desk.remove("app:1")
    with pytest.raises(Conflict, match="in use"):
        await scene.desk.remove("running:1")
    assert (await scene.desk.prune(False)).images == []
    pruned = await scene.desk.prune(True)
    assert pruned.images == ["docker.io/library/idle:1"] and pruned.freed > MIB
    assert scene.names() == {"app:1", "running:1"}


def test_the_keyring_knows_what_was_agreed_a_moment_ago_and_asks_docker_otherwise(tmp_path: Path) -> None:
    hive, vault = Hive(), Vault(b"k" * 32)
    docker = tmp_path / "config.json"
    keyring = HiveKeyring(hive.state, vault, docker)
    assert not keyring("reg.local").signs_in
    docker.write_text('{"auths": {"reg.local": {"username": "bob", "password": "docker"}}}')
    assert keyring("reg.local").password == "docker"

    def login(password: str) -> None:
        sealed = vault.seal(
            encode(Credential(password=password)), sealing_context("reg.local"), os.urandom(24)
        )
        manifest = RegistryManifest(name="reg.local", username="ann", mirrors=("m.local",))
        hive.do(PutRegistry(manifest=manifest, sealed=sealed))

    login("first")
    login("second")
    access = keyring("reg.local")
    assert (access.username, access.password, access.mirrors) == ("ann", "second", ("m.local",))
    assert "second" not in repr(access) and b"second" not in encode(hive.state.registries["reg.local"])
    docker.write_text("not JSON, and it must not keep public images away")
    assert not keyring("other.local").signs_in
    moved = replace(hive.state.registries["reg.local"], name="elsewhere")
    with pytest.raises(Exception, match="cannot be opened"):
        vault.open(moved.sealed, sealing_context(moved.name))
