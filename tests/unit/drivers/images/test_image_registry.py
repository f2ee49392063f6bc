"""Pulling from a registry that misbehaves in every way a real one cannot be made to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from ociarchive import Layer, architecture, write_archive

from hivemind.drivers.images.access import Access
from hivemind.drivers.images.archive import load
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.manifest import OCI_INDEX, OCI_MANIFEST
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.contract import PullProgress
from hivemind.errors import (
    Corrupt,
    Forbidden,
    HivemindError,
    Invalid,
    NotFound,
    TimedOut,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
)

USER = "ann:secret"


class FakeRegistry(ThreadingHTTPServer):
    """Serves the blobs of one image; a test sets what goes wrong."""

    daemon_threads = True

    def __init__(self, source: ImageStore, digest: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.source = source
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.put("1", OCI_MANIFEST, source.blobs.read(digest, 2**22))
        self.auth = ""
        self.cuts: dict[str, int] = {}
        self.cut_after = 1000
        self.ranges = True
        self.damaged: set[str] = set()
        self.redirect = ""
        self.status = 0
        self.silent = threading.Event()
        self.asked: list[tuple[str, dict[str, str]]] = []

    def put(self, tag: str, media_type: str, data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.manifests[tag] = self.manifests[digest] = (media_type, data)
        return digest

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the test."""


class Handler(BaseHTTPRequestHandler):
    server: FakeRegistry
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        if self.server.silent.is_set():
            self.rfile.read(1)  # until the client gives up
            return
        path = urlsplit(self.path).path
        if self.server.status:
            self.answer(self.server.status)
        elif path == "/token":
            self.token()
        elif self.refused():
            return
        elif "/manifests/" in path:
            media_type, data = self.server.manifests.get(path.rpartition("/")[2], ("", b""))
            self.answer(200 if data else 404, data, Content_Type=media_type)
        elif self.server.redirect and not path.startswith("/elsewhere"):
            self.answer(307, Location=f"{self.server.redirect}{path}")
        else:
            self.blob(path.rpartition("/")[2])

    def refused(self) -> bool:
        basic = "Basic " + base64.b64encode(USER.encode()).decode()
        wanted = {"": "", "basic": basic, "bearer": "Bearer ticket"}[self.server.auth]
        if self.path.startswith("/elsewhere") or not wanted or self.headers.get("Authorization") == wanted:
            return False
        realm = f'realm="http://{self.server.host}/token",service="reg",scope="repository:team/app:pull"'
        self.answer(401, WWW_Authenticate=f"{self.server.auth.title()} {realm}")
        return True

    def token(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        assert query == {"service": ["reg"], "scope": ["repository:team/app:pull"]}
        basic = "Basic " + base64.b64encode(USER.encode()).decode()
        ok = self.headers.get("Authorization") == basic
        self.answer(200 if ok else 401, b'{"token":"ticket"}' if ok else b"")

    def blob(self, digest: str) -> None:
        data = self.server.source.blobs.path(digest).read_bytes()
        if digest in self.server.damaged:
            data = data[:-1] + bytes([data[-1] ^ 1])
        start, status, headers = 0, 200, {}
        if (wanted := self.headers.get("Range")) and self.server.ranges:
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            headers = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        if self.server.cuts.get(digest, 0) > 0 and len(data) - start > self.server.cut_after:
            self.server.cuts[digest] -= 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(data) - start))
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data[start : start + self.server.cut_after])
            self.close_connection = True
            return
        self.answer(status, data[start:], **headers)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[FakeRegistry]:
    source = ImageStore(tmp_path / "source")
    source.open()
    layers = []
    for number in range(4):
        layer = Layer()
        layer.file(f"f{number}", hashlib.shake_128(bytes([number])).digest(20_000))
        layers.append(layer)
    write_archive(tmp_path / "a.tar", layers, {"Cmd": ["/x"]}, "docker.io/team/app:1")
    (image,) = load(source, tmp_path / "a.tar")
    server = FakeRegistry(source, image.digest)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    store = ImageStore(tmp_path / "images")
    store.open()
    return store


def images(store: ImageStore, registry: FakeRegistry, password: str = "", timeout: float = 10.0) -> Images:
    user, _, secret = password.partition(":")

    def keyring(host: str) -> Access:
        own = {"username": user, "password": secret} if host == registry.host else {}
        return Access(host=host, timeout=timeout, **own)

    return Images(store, keyring)


def layer_blobs(registry: FakeRegistry) -> list[str]:
    return [layer["digest"] for layer in json.loads(registry.manifests["1"][1])["layers"]]


@pytest.mark.anyio
async def test_pulls_with_progress_and_then_from_the_store(store: ImageStore, registry: FakeRegistry) -> None:
    seen: list[PullProgress] = []
    name = f"{registry.host}/team/app:1"
    image = await images(store, registry).pull(name, seen.append)
    assert image.names == (name,) and len(store.layers(image.digest)) == 4
    assert [progress.stage for progress in seen if progress.stage != "downloading"] == [
        "resolving",
        "unpacking",
        "done",
    ]
    done = [progress.done for progress in seen]
    assert done == sorted(done) and seen[-1].done == seen[-1].total == image.size > 80_000
    before = len(registry.asked)
    assert await images(store, registry).pull(name) == image
    assert len(registry.asked) == before
    by_digest = await images(store, registry).pull(f"{registry.host}/team/app@{image.digest}")
    assert by_digest == image


@pytest.mark.anyio
@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_signs_in_as_the_registry_asks(store: ImageStore, registry: FakeRegistry, auth: str) -> None:
    registry.auth = auth
    with pytest.raises(Unauthenticated, match="anyone without an account"):
        await images(store, registry).pull(f"{registry.host}/team/app:1")
    with pytest.raises(Unauthenticated, match="'ann'"):
        await images(store, registry, "ann:wrong").pull(f"{registry.host}/team/app:1")
    await images(store, registry, USER).pull(f"{registry.host}/team/app:1")


@pytest.mark.anyio
async def test_a_redirect_does_not_carry_the_sign_in_elsewhere(
    store: ImageStore, registry: FakeRegistry
) -> None:
    registry.auth = "basic"
    registry.redirect = f"http://localhost:{registry.server_address[1]}/elsewhere"
    await images(store, registry, USER).pull(f"{registry.host}/team/app:1")
    elsewhere = [headers for path, headers in registry.asked if path.startswith("/elsewhere")]
    assert len(elsewhere) == 5 and not any("Authorization" in headers for headers in elsewhere)


@pytest.mark.anyio
@pytest.mark.parametrize("ranges", [True, False])
async def test_goes_on_after_a_cut(store: ImageStore, registry: FakeRegistry, ranges: bool) -> None:
    registry.ranges = ranges
    registry.cuts = dict.fromkeys(layer_blobs(registry), 3)
    image = await images(store, registry).pull(f"{registry.host}/team/app:1")
    assert len(store.layers(image.digest)) == 4
    asked = [
        headers.get("Range") for path, headers in registry.asked if path.endswith(layer_blobs(registry)[0])
    ]
    assert asked == (
        [None, "bytes=1000-", "bytes=2000-", "bytes=3000-"] if ranges else [None] + ["bytes=1000-"] * 3
    )


@pytest.mark.anyio
async def test_gives_up_when_cut_forever_and_goes_on_later(store: ImageStore, registry: FakeRegistry) -> None:
    last = layer_blobs(registry)[-1]
    registry.cuts, registry.cut_after = {last: 10**9}, 0
    with pytest.raises(Unavailable, match="again and again"):
        await images(store, registry).pull(f"{registry.host}/team/app:1")
    assert list(store.blobs.incoming.iterdir()) == [] and store.list() == []
    registry.cuts, before = {}, len(registry.asked)
    await images(store, registry).pull(f"{registry.host}/team/app:1")
    assert [path.rpartition("/")[2] for path, _ in registry.asked[before:]] == ["1", last]


@pytest.mark.anyio
async def test_damaged_blobs_are_not_kept(store: ImageStore, registry: FakeRegistry) -> None:
    bad = layer_blobs(registry)[2]
    registry.damaged = {bad}
    with pytest.raises(Corrupt, match=bad):
        await images(store, registry).pull(f"{registry.host}/team/app:1")
    assert not store.blobs.has(bad) and store.list() == [] and list(store.blobs.incoming.iterdir()) == []


@pytest.mark.anyio
async def test_a_manifest_must_match_the_digest_that_was_asked_for(
    store: ImageStore, registry: FakeRegistry
) -> None:
    false = "sha256:" + "0" * 64
    registry.manifests[false] = registry.manifests["1"]
    with pytest.raises(Corrupt):
        await images(store, registry).pull(f"{registry.host}/team/app@{false}")


@pytest.mark.anyio
async def test_chooses_this_machine_in_an_index(store: ImageStore, registry: FakeRegistry) -> None:
    _, data = registry.manifests["1"]
    digest = registry.put("1", OCI_MANIFEST, data)
    own = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(data)}
    own["platform"] = {"os": "linux", "architecture": architecture()}
    other = own | {"digest": "sha256:" + "1" * 64, "platform": {"os": "linux", "architecture": "s390x"}}
    registry.put("many", OCI_INDEX, json.dumps({"schemaVersion": 2, "manifests": [other, own]}).encode())
    registry.put("other", OCI_INDEX, json.dumps({"schemaVersion": 2, "manifests": [other]}).encode())
    image = await images(store, registry).pull(f"{registry.host}/team/app:many")
    assert image.digest == digest
    with pytest.raises(Unsupported, match="only for linux/s390x"):
        await images(store, registry).pull(f"{registry.host}/team/app:other")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, Forbidden), (404, NotFound), (429, Unavailable), (500, Unavailable), (503, Unavailable)],
)
async def test_refusals_are_told_apart(
    store: ImageStore, registry: FakeRegistry, status: int, kind: type[HivemindError]
) -> None:
    registry.status = status
    with pytest.raises(kind) as caught:
        await images(store, registry).pull(f"{registry.host}/team/app:1")
    assert registry.host in caught.value.message and caught.value.hint


@pytest.mark.anyio
async def test_nonsense_is_refused(store: ImageStore, registry: FakeRegistry) -> None:
    registry.put("old", "application/vnd.docker.distribution.manifest.v1+json", b"{}")
    registry.put("junk", OCI_MANIFEST, b"<html>")
    registry.put("huge", OCI_MANIFEST, b" " * (5 * 2**20))
    for tag, kind in {"old": Unsupported, "junk": Invalid, "huge": TooLarge, "missing": NotFound}.items():
        with pytest.raises(kind):
            await images(store, registry).pull(f"{registry.host}/team/app:{tag}")
    with pytest.raises(Invalid):
        await images(store, registry).pull("No Such Name")


@pytest.mark.anyio
async def test_silence_and_absence_are_told_apart(store: ImageStore, registry: FakeRegistry) -> None:
    registry.silent.set()
    with pytest.raises(TimedOut, match="did not answer"):
        await images(store, registry, timeout=0.2).pull(f"{registry.host}/team/app:1")
    with pytest.raises(Unavailable, match="cannot be reached"):
        await images(store, registry).pull("127.0.0.1:1/team/app:1")


@pytest.mark.anyio
async def test_two_pulls_at_once_fetch_each_blob_once(store: ImageStore, registry: FakeRegistry) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(images(store, registry).pull, f"{registry.host}/team/app:1")
    blobs = [path for path, _ in registry.asked if "/blobs/" in path]
    assert len(blobs) == len(set(blobs)) == 5
    assert len(store.list()) == 1


class Proxy(BaseHTTPRequestHandler):
    asked: list[tuple[str, str]]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.asked.append((self.path, self.headers.get("Proxy-Authorization", "")))
        self.send_error(502)


@pytest.mark.anyio
async def test_tls_goes_through_the_proxy_that_the_environment_names(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Proxy.asked = []
    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("https_proxy", f"http://me:p%40ss@127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("no_proxy", "internal.invalid")
        try:
            with pytest.raises(Unavailable, match="502"):
                await Images(store).pull("registry.invalid/team/app:1")
            with pytest.raises(Unavailable, match="cannot be reached"):
                await Images(store).pull("internal.invalid/team/app:1")
        finally:
            server.shutdown()
            thread.join()
    assert Proxy.asked == [("registry.invalid:443", "Basic " + base64.b64encode(b"me:p@ss").decode())]


@pytest.mark.anyio
async def test_cancelling_stops_the_transfer(store: ImageStore, registry: FakeRegistry) -> None:
    registry.cuts, registry.cut_after = dict.fromkeys(layer_blobs(registry), 10**9), 0
    started = anyio.Event()

    def begun(progress: PullProgress) -> None:
        if progress.stage == "downloading":
            started.set()

    async with anyio.create_task_group() as group:
        group.start_soon(images(store, registry).pull, f"{registry.host}/team/app:1", begun)
        await started.wait()
        group.cancel_scope.cancel()
    await asyncio.get_running_loop().shutdown_default_executor()  # waits for the pull's own threads
    assert store.list() == [] and list(store.blobs.incoming.iterdir()) == []
    attempts = sum("/blobs/" in path and layer_blobs(registry)[0] in path for path, _ in registry.asked)
    assert attempts < 5
