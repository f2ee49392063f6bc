"""The store and the archives it takes in: names, sharing, crashes, a full disk, damage."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from ociarchive import Layer, write_archive

from hivemind.drivers.images import blobs as blobs_module
from hivemind.drivers.images import unpack as unpack_module
from hivemind.drivers.images.archive import load
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.limits import Limits
from hivemind.drivers.images.store import ImageStore
from hivemind.errors import (
    Conflict,
    Corrupt,
    HivemindError,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
    Unsupported,
)

CONFIG = {
    "Entrypoint": ["/bin/app"],
    "Cmd": ["serve"],
    "Env": ["A=1"],
    "User": "www",
    "WorkingDir": "/srv",
    "StopSignal": "SIGQUIT",
    "ExposedPorts": {"80/tcp": {}},
    "Labels": {"team": "x"},
}


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return opened(tmp_path)


def opened(tmp_path: Path) -> ImageStore:
    store = ImageStore(tmp_path / "images")
    store.open()
    return store


def layer(**files: str) -> Layer:
    made = Layer()
    for name, text in files.items():
        made.file(name, text)
    return made


def archive(tmp_path: Path, name: str = "docker.io/library/web:1", *layers: Layer, **how: object) -> Path:
    path = tmp_path / "image.tar"
    write_archive(path, layers or [layer(base="1"), layer(top="2")], CONFIG, name, **how)  # type: ignore[arg-type]
    return path


def leftovers(store: ImageStore) -> list[str]:
    return [path.name for path in store.blobs.incoming.iterdir()]


@pytest.mark.parametrize("format", ["oci", "docker"])
@pytest.mark.parametrize("compress", [True, False])
def test_both_kinds_of_archive_load_and_survive_a_restart(
    tmp_path: Path, store: ImageStore, format: str, compress: bool
) -> None:
    path = archive(tmp_path, format=format, compress=compress)
    if compress:
        path.write_bytes(gzip.compress(path.read_bytes()))
    (image,) = load(store, path)
    assert image.names == ("docker.io/library/web:1",)
    config = image.config
    assert (config.entrypoint, config.command, config.env) == (("/bin/app",), ("serve",), ("A=1",))
    assert (config.user, config.workdir, config.stop_signal) == ("www", "/srv", "SIGQUIT")
    assert (config.ports, config.labels) == (("80/tcp",), {"team": "x"})
    assert image.size > 0 and image.created == 1_700_000_000_000
    assert [[f.name for f in path.iterdir()] for path in store.layers(image.digest)] == [["base"], ["top"]]
    assert leftovers(store) == []
    again = opened(tmp_path)
    assert again.list() == [image] and again.find("web:1") == again.find(image.digest) == image
    assert again.find("web:2") is None


def test_loading_twice_changes_nothing(tmp_path: Path, store: ImageStore) -> None:
    path = archive(tmp_path)
    assert load(store, path) == load(store, path)
    store.prune()
    files = sorted(str(path) for path in (tmp_path / "images").rglob("*"))
    load(store, path)
    store.prune()
    assert sorted(str(path) for path in (tmp_path / "images").rglob("*")) == files


def test_names_move_and_layers_are_shared(tmp_path: Path, store: ImageStore) -> None:
    base = layer(base="1")
    (one,) = load(store, archive(tmp_path, "docker.io/library/web:1", base, layer(v="1")))
    (two,) = load(store, archive(tmp_path, "docker.io/library/web:1", base, layer(v="2")))
    assert store.get(one.digest).names == () and two.names == ("docker.io/library/web:1",)
    assert store.layers(one.digest)[0] == store.layers(two.digest)[0]
    assert store.tag(one.digest, "web:old").names == ("docker.io/library/web:old",)
    assert store.prune() == 0  # loading left nothing that no image needs
    shared, own = store.layers(one.digest)
    assert store.remove("web:old") > 0
    assert shared.exists() and not own.exists()
    with pytest.raises(NotFound):
        store.get(one.digest)
    assert opened(tmp_path).list() == [two]


def test_removing(tmp_path: Path, store: ImageStore) -> None:
    (image,) = load(store, archive(tmp_path))
    store.tag(image.digest, "other:1")
    assert store.remove("other:1", keep={image.digest}) == 0
    with pytest.raises(Conflict, match="in use"):
        store.remove("web:1", keep={image.digest})
    with pytest.raises(NotFound):
        store.remove("nothing:1")
    assert store.remove(image.digest) >= image.size
    assert store.list() == [] and store.blobs.digests() == [] and leftovers(store) == []


def test_prune_keeps_what_is_used_or_named(tmp_path: Path, store: ImageStore) -> None:
    (one,) = load(store, archive(tmp_path, "docker.io/library/web:1", layer(v="1")))
    (two,) = load(store, archive(tmp_path, "docker.io/library/web:1", layer(v="2")))
    store.prune(keep={one.digest})
    assert {image.digest for image in store.list()} == {one.digest, two.digest}
    assert store.layers(one.digest)[0].exists()
    with store.arriving():
        assert store.prune() == 0
    store.prune()
    assert [image.digest for image in store.list()] == [two.digest]


def test_two_at_once_unpack_each_layer_once(
    tmp_path: Path, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for number in range(4):
        path = archive(tmp_path, f"docker.io/library/web:{number}", layer(base="1"), layer(v=str(number % 2)))
        paths.append(path.rename(tmp_path / f"{number}.tar"))
    unpacked: list[Path] = []
    real = unpack_module.unpack

    def counting(stream: io.BytesIO, target: Path, limits: Limits) -> None:
        unpacked.append(target)
        real(stream, target, limits)

    monkeypatch.setattr(unpack_module, "unpack", counting)
    failures: list[BaseException] = []

    def one(path: Path) -> None:
        try:
            load(store, path)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and len(unpacked) == 3
    assert sorted(name for image in store.list() for name in image.names) == [
        f"docker.io/library/web:{number}" for number in range(4)
    ]
    assert opened(tmp_path).list() == store.list()


class Killed(BaseException):
    """Stands for the process's death: nothing catches it on purpose."""


def test_a_crash_at_any_step_leaves_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies before its n-th rename or fsync, for every n, and no clean-up code runs after that."""
    step = 0
    while not _loads_unless_killed(tmp_path / str(step), monkeypatch, step):
        step += 1
    assert step > 10


def _loads_unless_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> bool:
    tmp_path.mkdir()
    store = opened(tmp_path)
    (old,) = load(store, archive(tmp_path, "docker.io/library/web:1", layer(v="old")))
    path = archive(tmp_path, "docker.io/library/web:1", layer(base="1"), layer(v="new"))
    calls = 0

    def mortal(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **more: object) -> object:
            nonlocal calls
            calls += 1
            if calls > step:
                raise Killed
            return real(*args, **more)

        return call

    def buried(real: Callable[..., object]) -> Callable[..., object]:
        return lambda *args, **more: None if calls > step else real(*args, **more)

    finished = False
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        for name in ("rename", "fsync"):
            patch.setattr(os, name, mortal(getattr(os, name)))
        patch.setattr(os, "unlink", buried(os.unlink))
        patch.setattr(shutil, "rmtree", buried(shutil.rmtree))
        load(store, path)
        finished = True
    again = opened(tmp_path)
    found = again.find("web:1")
    assert found is not None and leftovers(again) == []
    assert not (finished and found.digest == old.digest)
    assert all(folder.is_dir() for image in again.list() for folder in again.layers(image.digest))
    (new,) = load(again, path)
    assert again.find("web:1") == new and (again.layers(new.digest)[1] / "v").read_text() == "new"
    return finished


@pytest.mark.parametrize("where", ["write", "unpack"])
def test_a_full_disk_is_said_plainly_and_leaves_nothing(
    tmp_path: Path, store: ImageStore, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = archive(tmp_path)
    with monkeypatch.context() as patch:
        if where == "write":
            patch.setattr(blobs_module.os, "fsync", full)
        else:
            patch.setattr(os, "fchown", full)
        with pytest.raises(Unavailable, match="full") as caught:
            load(store, path)
    assert "free space" in caught.value.hint
    assert store.list() == [] and leftovers(store) == [] and store._layers.diff_ids() == []
    assert store.blobs.digests() == []
    load(store, path)


def rewritten(tmp_path: Path, change: dict[str, bytes | None]) -> Path:
    """The usual archive with members whose name starts so replaced, or left out."""
    source, target = archive(tmp_path), tmp_path / "changed.tar"
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for info in old:
            data = old.extractfile(info).read()  # type: ignore[union-attr]
            data = next((change[key] for key in change if info.name.startswith(key)), data)  # type: ignore[assignment]
            if data is not None:
                info.size = len(data)
                new.addfile(info, io.BytesIO(data))
    return target


BAD_ARCHIVES: dict[str, tuple[dict[str, bytes | None], type[HivemindError], str]] = {
    "no index": ({"index.json": None}, Invalid, "neither index.json nor manifest.json"),
    "index is no json": ({"index.json": b"{"}, Invalid, "index.json cannot be read"),
    "index is deep": ({"index.json": b"[" * 100_000}, Invalid, "index.json cannot be read"),
    "index is huge": ({"index.json": b" " * (5 * 2**20)}, Invalid, "larger than"),
    "index is empty": ({"index.json": b'{"manifests":[]}'}, Invalid, "no image"),
    "index names a path": (
        {"index.json": b'{"manifests":[{"mediaType":"m","size":1,"digest":"sha256:../../../etc/passwd"}]}'},
        Invalid,
        "not a digest",
    ),
    "blobs are missing": ({"blobs": None}, NotFound, "not in the image store"),
    "blobs are damaged": ({"blobs": b"damaged"}, NotFound, "not in the image store"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_bad_archives_are_refused_in_plain_words(tmp_path: Path, store: ImageStore, case: str) -> None:
    change, kind, words = BAD_ARCHIVES[case]
    with pytest.raises(kind, match=words):
        load(store, rewritten(tmp_path, change))
    store.prune()
    assert store.list() == [] and store.blobs.digests() == [] and leftovers(store) == []


BAD_MANIFESTS = {
    "sizes below zero": (lambda m, _: m["layers"][0].update(size=-1), "a size of -1"),
    "other digests": (lambda m, _: m["config"].update(digest="md5:abc"), "not a digest"),
    "too many layers": (lambda m, _: m.update(layers=m["layers"] * 501), "501 layers"),
    "layers that do not fit": (
        lambda m, _: m.update(layers=m["layers"] * 2),
        "2 layers but its configuration",
    ),
    "no layers at all": (lambda m, _: m.pop("layers"), "manifest cannot be read"),
    "a text for a list": (lambda _, c: c["config"].update(Env="A=1"), "configuration cannot be read"),
    "a diff id that is a path": (lambda _, c: c["rootfs"].update(diff_ids=["../../etc"]), "not a digest"),
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_absurd_manifests_are_refused(tmp_path: Path, store: ImageStore, case: str) -> None:
    change, words = BAD_MANIFESTS[case]
    (image,) = load(store, archive(tmp_path, "docker.io/library/web:1", layer(a="1")))
    manifest = json.loads(store.blobs.read(image.digest, 2**20))
    config = json.loads(store.blobs.read(manifest["config"]["digest"], 2**20))
    change(manifest, config)
    if manifest["config"]["digest"].startswith("sha256:"):
        manifest["config"]["digest"] = store.blobs.put(json.dumps(config).encode())
    with pytest.raises(Invalid, match=words):
        store.add(store.blobs.put(json.dumps(manifest).encode()))
    assert store.list() == [image]


@pytest.mark.parametrize("data", [b"", b"x" * 2000, b"\x1f\x8bnot gzip", b"PK\x03\x04 a zip file" * 100])
def test_what_is_no_archive_is_refused(tmp_path: Path, store: ImageStore, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(Invalid) as caught:
        load(store, path)
    assert caught.value.hint and leftovers(store) == []


def test_an_archive_cut_anywhere_is_refused(tmp_path: Path, store: ImageStore) -> None:
    data = archive(tmp_path).read_bytes()
    path = tmp_path / "cut.tar"
    for length in range(0, len(data) - 10_240, 700):
        path.write_bytes(data[:length])
        with pytest.raises((Invalid, NotFound)):
            load(store, path)
    assert store.list() == [] and leftovers(store) == []


def test_an_image_of_another_machine_is_refused(tmp_path: Path, store: ImageStore) -> None:
    with pytest.raises(Unsupported, match="linux/s390x"):
        load(store, archive(tmp_path, arch="s390x"))


def test_zstd_is_read_or_refused_with_a_way_out(tmp_path: Path, store: ImageStore) -> None:
    path = archive(tmp_path, "docker.io/library/web:1", compress=False)
    path.write_bytes(b"\x28\xb5\x2f\xfd" + b"x" * 100)
    with pytest.raises((Unsupported, Invalid)) as caught:
        load(store, path)
    assert caught.value.hint


def test_a_layer_that_is_not_what_the_configuration_promises(tmp_path: Path, store: ImageStore) -> None:
    load(store, archive(tmp_path, "docker.io/library/web:1", layer(a="1")))
    (good,) = store.list()
    manifest = json.loads(store.blobs.read(good.digest, 2**20))
    manifest["layers"][0]["digest"] = store.blobs.put(gzip.compress(layer(a="2").tar()))
    store._layers.remove(good.layers[0])
    with pytest.raises(Corrupt, match="promises"):
        store.add(store.blobs.put(json.dumps(manifest).encode()))
    assert leftovers(store) == [] and store._layers.diff_ids() == []
    assert store.layers(good.digest)[0].is_dir()  # unpacked again from its own blob


@pytest.mark.parametrize("which", ["manifest", "config"])
def test_a_document_that_rotted_on_disk_is_not_believed(
    tmp_path: Path, store: ImageStore, which: str
) -> None:
    """The others stay; the damaged image is told apart from one that never was, and loading it again heals it."""
    (other,) = load(store, archive(tmp_path, "docker.io/library/other:1", layer(v="other")))
    path = archive(tmp_path)
    (image,) = load(store, path)
    manifest = json.loads(store.blobs.read(image.digest, 2**20))
    rotten = image.digest if which == "manifest" else manifest["config"]["digest"]
    store.blobs.path(rotten).write_bytes(b"{}")
    again = opened(tmp_path)
    assert again.list() == [other] and again.find("web:1") is None
    with pytest.raises(Corrupt, match=rotten):
        again.get(image.digest)
    assert load(again, path) == [image] == [again.get(image.digest)]


def test_a_manifest_that_rots_meanwhile_holds_up_nothing_but_collection(
    tmp_path: Path, store: ImageStore
) -> None:
    path = archive(tmp_path).rename(tmp_path / "rotten.tar")
    (image,) = load(store, path)
    store.blobs.path(image.digest).write_bytes(b"{}")
    (other,) = load(store, archive(tmp_path, "docker.io/library/other:1", layer(v="other")))
    assert store.prune() == 0 and len(store.layers(image.digest)) == 2
    assert isinstance(store.damaged[image.digest], Corrupt)
    load(store, path)
    assert store.damaged == {} and opened(tmp_path).list() == sorted([other, image], key=lambda i: i.names)


def test_a_layer_that_rotted_on_disk_is_not_unpacked(tmp_path: Path, store: ImageStore) -> None:
    path = archive(tmp_path, "docker.io/library/web:1", layer(a="1"))
    (image,) = load(store, path)
    (blob,) = json.loads(store.blobs.read(image.digest, 2**20))["layers"]
    data = bytearray(store.blobs.path(blob["digest"]).read_bytes())
    for position in (0, 30, len(data) - 6):
        data[position] ^= 1
        store.blobs.path(blob["digest"]).write_bytes(data)
        store._layers.remove(image.layers[0])
        with pytest.raises(Corrupt, match="was removed"):
            store.layers(image.digest)
        assert not store.blobs.has(blob["digest"])
        load(store, path)
        assert store.layers(image.digest)[0].is_dir()


def test_a_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images", Limits(bytes=2**20))
    store.open()
    path = archive(tmp_path, "docker.io/library/web:1", layer(zeros="\0" * 2**22))
    assert path.stat().st_size < 2**16
    with pytest.raises(TooLarge):
        load(store, path)
    assert leftovers(store) == []


@pytest.mark.anyio
async def test_the_asynchronous_face_loads_a_stream(tmp_path: Path, store: ImageStore) -> None:
    data = archive(tmp_path).read_bytes()

    async def chunks(data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    images = Images(store)
    (image,) = await images.load(chunks(data))
    assert images.get(image.digest) == image == await images.pull("web:1")
    assert [path.name for path in images.layers(image.digest)] == [
        d.removeprefix("sha256:") for d in image.layers
    ]
    with pytest.raises(Invalid, match="empty"):
        await images.load(chunks(b""))
    assert leftovers(store) == []
