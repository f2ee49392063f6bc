"""Pulling from a real registry, Debian's docker-registry, plain and behind TLS and passwords."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from debimage import build, program
from ociarchive import Layer, write_archive

from hivemind.drivers.images.access import Access, Keyring, anonymous
from hivemind.drivers.images.archive import load
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.manifest import OCI_MANIFEST
from hivemind.drivers.images.registry import pull
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.contract import PullProgress
from hivemind.errors import Corrupt, NotFound, Unauthenticated, Unavailable

pytestmark = pytest.mark.real

# The user "ann" with the password "sesame", as `htpasswd -B` writes it.
HTPASSWD = "ann:$2y$05$abcdefghijklmnopqrstuuKcS.CYWVYVaLiiCKrrc0A5s3mGesJ9O\n"


class Registry:
    """A docker-registry process of our own on loopback."""

    def __init__(self, folder: Path, secure: bool) -> None:
        self.data = folder / "data"
        self.folder = folder
        self.secure = secure
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.host = f"127.0.0.1:{free.getsockname()[1]}"
        self.process: subprocess.Popen[str] | None = None
        if secure:
            self._make_certificate()
            (folder / "htpasswd").write_text(HTPASSWD)

    def _make_certificate(self) -> None:
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ]
        command += ["-days", "2", "-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", str(self.folder / "key.pem"), "-out", str(self.folder / "cert.pem")]
        subprocess.run(command, check=True, capture_output=True)

    def start(self) -> None:
        config: dict[str, object] = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(self.data)}},
        }
        server: dict[str, object] = {"addr": self.host}
        if self.secure:
            server["tls"] = {"certificate": f"{self.folder}/cert.pem", "key": f"{self.folder}/key.pem"}
            config["auth"] = {"htpasswd": {"realm": "tests", "path": f"{self.folder}/htpasswd"}}
        (self.folder / "config.yml").write_text(json.dumps(config | {"http": server}))
        binary = str(program("docker-registry", "usr/bin/docker-registry"))
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", binary, "serve", str(self.folder / "config.yml")],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
        assert self.process.stderr
        for line in self.process.stderr:
            if "listening on" in line:
                break
        else:
            raise AssertionError("the registry did not start")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    @property
    def keyring(self) -> Keyring:
        return self.known_to("ann", "sesame") if self.secure else anonymous

    def known_to(self, username: str = "", password: str = "") -> Keyring:
        ca = (self.folder / "cert.pem").read_text()
        return lambda host: Access(host=host, username=username, password=password, ca=ca)

    def _send(
        self, method: str, url: str, body: bytes = b"", media_type: str = "application/octet-stream"
    ) -> str:
        if self.secure:
            context = ssl.create_default_context(cafile=f"{self.folder}/cert.pem")
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(self.host, context=context)
        else:
            connection = http.client.HTTPConnection(self.host)
        authorization = "Basic " + base64.b64encode(b"ann:sesame").decode()
        connection.request(method, url, body, {"Authorization": authorization, "Content-Type": media_type})
        answer = connection.getresponse()
        assert answer.status in (201, 202), answer.read()
        location = answer.headers.get("Location", "")
        connection.close()
        return location

    def push(self, source: ImageStore, digest: str, repository: str, tag: str) -> None:
        manifest = source.blobs.read(digest, 2**22)
        document = json.loads(manifest)
        for blob in [document["config"], *document["layers"]]:
            where = urlsplit(self._send("POST", f"/v2/{repository}/blobs/uploads/"))
            data = source.blobs.path(blob["digest"]).read_bytes()
            self._send("PUT", f"{where.path}?{where.query}&digest={blob['digest']}", data)
        self._send("PUT", f"/v2/{repository}/manifests/{tag}", manifest, OCI_MANIFEST)

    def file_of(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        return self.data / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data"


@contextmanager
def running(folder: Path, secure: bool) -> Iterator[Registry]:
    folder.mkdir()
    registry = Registry(folder, secure)
    try:
        registry.start()
        yield registry
    finally:
        registry.kill()


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
