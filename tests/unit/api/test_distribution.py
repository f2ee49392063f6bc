"""The node as a registry: who may, what is sent once only, and how refusals are told."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ociarchive import Layer, write_archive

from hivemind.drivers.images.archive import load
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.manifest import OCI_INDEX, OCI_MANIFEST, Platform
from hivemind.drivers.images.store import ImageStore
from hivemind.errors import Invalid
from hivemind.model.image import Image
from hivemind.security.identity import Identity
from tests.unit.api.backend import ADMIN, OPERATOR, STRANGER, VIEWER
from tests.unit.api.conftest import Running


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["errors"][0]["code"])


class Registry:
    """Asks as docker would: with a token as the password."""

    def __init__(self, running: Running, store: ImageStore, who: Identity | None = OPERATOR) -> None:
        self.running, self.store, self.who = running, store, who

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        parts = urlsplit(self.running.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        if self.who:
            pair = base64.b64encode(f"anyone:{self.who.token()}".encode()).decode()
            sent.setdefault("Authorization", f"Basic {pair}")
        connection.request(method, path, body, sent)
        answer = Answer(connection.getresponse())
        connection.close()
        return answer

    def blob(self, data: bytes, name: str = "team/web") -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        where = self.ask("POST", f"/v2/{name}/blobs/uploads/").headers["Location"]
        answer = self.ask("PUT", f"{where}?digest={digest}", data)
        assert answer.status == 201, answer.body
        return digest


@pytest.fixture
def registry(running: Running, tmp_path: Path) -> Registry:
    store = ImageStore(tmp_path / "images")
    store.open()

    async def use() -> None:
        running.backend.images.store = Images(store)

    running.run(use())
    return Registry(running, store)


@pytest.fixture
def source(tmp_path: Path) -> tuple[ImageStore, Image, Path]:
    store = ImageStore(tmp_path / "source")
    store.open()
    layer = Layer()
    layer.file("data", hashlib.shake_128(b"x").digest(300_000))
    write_archive(tmp_path / "a.tar", [layer], {"Cmd": ["/x"]}, "docker.io/team/web:1")
    (image,) = load(store, tmp_path / "a.tar")
    return store, image, tmp_path / "a.tar"


def push(
    registry: Registry, source: ImageStore, image: Image, target: str = "1", name: str = "team/web"
) -> Answer:
    manifest = source.manifest(image.digest)
    for blob in (manifest.config, *manifest.layers):
        registry.blob(source.blobs.read(blob.digest, 2**22), name)
    data = source.blobs.read(image.digest, 2**22)
    return registry.ask("PUT", f"/v2/{name}/manifests/{target}", data, Content_Type=OCI_MANIFEST)


def test_what_is_pushed_is_what_image_names_mean(
    registry: Registry, source: tuple[ImageStore, Image, Path]
) -> None:
    store, image, _ = source
    answer = push(registry, store, image)
    assert answer.status == 201 and answer.headers["Docker-Content-Digest"] == image.digest
    found = registry.store.find("team/web:1")
    assert found and found.digest == image.digest and registry.store.unpacked(image.digest)
    assert push(registry, store, image, "2", "ghcr.io/team/web").status == 201
    assert registry.store.find("ghcr.io/team/web:2")
    assert json.loads(registry.ask("GET", "/v2/_catalog").body) == {
        "repositories": ["ghcr.io/team/web", "team/web"]
    }
    assert json.loads(registry.ask("GET", "/v2/team/web/tags/list").body) == {
        "name": "team/web",
        "tags": ["1"],
    }
    for target in ("1", image.digest):
        manifest = registry.ask("GET", f"/v2/team/web/manifests/{target}")
        assert manifest.body == store.blobs.read(image.digest, 2**22)
        assert manifest.headers["Content-Type"] == OCI_MANIFEST
    layer = store.manifest(image.digest).layers[0]
    head = registry.ask("HEAD", f"/v2/team/web/blobs/{layer.digest}")
    assert head.status == 200 and head.headers["Content-Length"] == str(layer.size)
    part = registry.ask("GET", f"/v2/team/web/blobs/{layer.digest}", Range="bytes=10-19")
    assert part.status == 206 and part.body == store.blobs.read(layer.digest, 2**22)[10:20]


def test_who_may(registry: Registry) -> None:
    for who, ping, reading in ((None, 401, 401), (STRANGER, 401, 401), (VIEWER, 200, 403), (ADMIN, 200, 404)):
        asking = Registry(registry.running, registry.store, who)
        answer = asking.ask("GET", "/v2/")
        assert answer.status == ping
        if ping == 401:
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="hivemind"'
            assert answer.code == "UNAUTHORIZED"
        assert asking.ask("GET", "/v2/team/web/manifests/1").status == reading
        assert asking.ask("POST", "/v2/team/web/blobs/uploads/").status == (202 if who is ADMIN else reading)
    token = OPERATOR.token()
    assert registry.ask("GET", "/v2/", Authorization=f"Bearer {token}").status == 200
    assert registry.ask("GET", "/v2/", Authorization="Basic !!!").status == 401
    pair = base64.b64encode(f"x:{token}".encode()).decode()
    assert registry.ask("GET", "/v1/status", Authorization=f"Basic {pair}").status == 401, (
        "only docker needs it"
    )
    assert registry.ask("GET", "/v2/", Host="evil.example.com").status == 403


def test_pieces_and_where_they_go_on(registry: Registry) -> None:
    where = registry.ask("POST", "/v2/team/web/blobs/uploads/").headers["Location"]
    first = registry.ask("PATCH", where, b"hello ", Content_Range="0-5")
    assert first.status == 202 and first.headers["Range"] == "0-5"
    wrong = registry.ask("PATCH", where, b"again", Content_Range="0-4")
    assert (wrong.status, wrong.code) == (416, "BLOB_UPLOAD_INVALID")
    assert registry.ask("GET", where).headers["Range"] == "0-5"
    registry.ask("PATCH", where, b"world")
    digest = "sha256:" + hashlib.sha256(b"hello world").hexdigest()
    assert registry.ask("PUT", f"{where}?digest={digest}").status == 201
    assert registry.store.blobs.read(digest, 100) == b"hello world"
    assert registry.ask("PATCH", where, b"more").code == "BLOB_UPLOAD_UNKNOWN"


def test_only_what_is_true_is_taken(registry: Registry, source: tuple[ImageStore, Image, Path]) -> None:
    store, image, _ = source
    where = registry.ask("POST", "/v2/team/web/blobs/uploads/").headers["Location"]
    wrong = registry.ask("PUT", f"{where}?digest=sha256:{'0' * 64}", b"something")
    assert (wrong.status, wrong.code) == (400, "DIGEST_INVALID")
    assert (
        registry.ask("PUT", f"{where}?digest=sha256:{'0' * 64}", b"something").code == "BLOB_UPLOAD_UNKNOWN"
    )
    data = store.blobs.read(image.digest, 2**22)
    missing = registry.ask("PUT", "/v2/team/web/manifests/1", data, Content_Type=OCI_MANIFEST)
    assert (missing.status, missing.code) == (404, "MANIFEST_UNKNOWN")
    junk = registry.ask("PUT", "/v2/team/web/manifests/1", b"{", Content_Type=OCI_MANIFEST)
    assert (junk.status, junk.code) == (400, "MANIFEST_INVALID")
    odd = registry.ask("PUT", "/v2/team/web/manifests/1", data, Content_Type="text/plain")
    assert (odd.status, odd.code) == (400, "MANIFEST_INVALID")
    for path in ("/v2/UPPER/manifests/1", "/v2/../etc/passwd/manifests/1", "/v2/a@b/manifests/1"):
        assert registry.ask("PUT", path, data, Content_Type=OCI_MANIFEST).status in (400, 404)
    assert registry.ask("DELETE", f"/v2/team/web/manifests/{image.digest}").status == 405
    assert registry.store.list() == []
    assert list(registry.store.blobs.incoming.iterdir()) == []


def test_an_index_names_what_is_for_this_machine(
    registry: Registry, source: tuple[ImageStore, Image, Path]
) -> None:
    store, image, _ = source
    push(registry, store, image, image.digest)
    here = Platform.here()
    index = json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [
                {"mediaType": OCI_MANIFEST, "digest": image.digest, "size": 1,
                 "platform": {"os": here.os, "architecture": here.architecture}},
            ],
        }
    ).encode()  # fmt: skip
    answer = registry.ask("PUT", "/v2/team/web/manifests/many", index, Content_Type=OCI_INDEX)
    assert answer.status == 201
    digest = answer.headers["Docker-Content-Digest"]
    found = registry.store.find(f"team/web@{digest}")
    assert found and found == registry.store.find("team/web:many") and found.digest == image.digest


def test_an_archive_is_pushed_without_what_is_there(
    registry: Registry, source: tuple[ImageStore, Image, Path]
) -> None:
    _, image, archive = source
    client = registry.running.remote(OPERATOR)
    told: list[tuple[int, int]] = []
    [first] = client.images.push_archive(str(archive), "", lambda done, total: told.append((done, total)))
    assert (first.name, first.digest, first.sent) == ("team/web:1", image.digest, first.size)
    assert told[-1] == (first.size, first.size)
    [again] = client.images.push_archive(str(archive), "other/name:2")
    assert (again.name, again.sent) == ("other/name:2", 0)
    assert registry.store.find("other/name:2") == registry.store.find("team/web:1")
    archive.write_bytes(b"no tar at all" * 100)
    with pytest.raises(Invalid, match="not an image archive"):
        client.images.push_archive(str(archive))


def test_nothing_is_collected_while_somebody_uploads(
    registry: Registry, source: tuple[ImageStore, Image, Path]
) -> None:
    """And what nobody made an image of is swept away afterwards."""
    store, image, _ = source
    orphan = registry.blob(b"of no image")
    registry.store.prune()
    assert registry.store.blobs.has(orphan)
    push(registry, store, image)
    uploads = registry.running.backend.images.store.uploads
    registry.running.run(uploads.close())
    assert not registry.store.blobs.has(orphan)
    assert registry.store.find("team/web:1")
