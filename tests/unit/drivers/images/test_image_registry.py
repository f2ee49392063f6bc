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

from hivemind.drivers.images import registry as registry_module
from hivemind.drivers.images.access import Access, Keyring
from hivemind.drivers.images.archive import load
from hivemind.drivers.images.blobs import NoRoom
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.manifest import OCI_INDEX, OCI_MANIFEST
from hivemind.drivers.images.room import Room
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
        self.ticket_lasts = 10**9
        """Requests until a ticket has expired."""
        self.tickets = 0
        self.left = 0
        self.cuts: dict[str, int] = {}
        self.cut_after = 1000
        self.ranges = True
        self.damaged: set[str] = set()
        self.redirect = ""
        self.status = 0
        self.silent = threading.Event()
        self.lock = threading.Lock()
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
        wanted = {"": "", "basic": basic, "bearer": f"Bearer ticket{self.server.tickets}"}[self.server.auth]
        if self.server.auth == "bearer" and self.headers.get("Authorization") == wanted:
            self.server.left -= 1
            wanted = wanted if self.server.left >= 0 else "expired"
        if self.path.startswith("/elsewhere") or not wanted or self.headers.get("Authorization") == wanted:
            return False
        realm = f'realm="http://{self.server.host}/token",service="reg",scope="repository:team/app:pull"'
        self.answer(401, WWW_Authenticate=f"{self.server.auth.title()} {realm}")
        return True

    def token(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        assert query == {"service": ["reg"], "scope": ["repository:team/app:pull"]}
        basic = "Basic " + base64.b64encode(USER.encode()).decode()
        self.hand_out(self.headers.get("Authorization") == basic)

    def hand_out(self, ok: bool) -> None:
        with self.server.lock:
            self.server.tickets += ok
            self.server.left = self.server.ticket_lasts
        ticket = f'{{"token":"ticket{self.server.tickets}"}}'.encode()
        self.answer(200 if ok else 401, ticket if ok else b"")

    def do_POST(self) -> None:
        """The token service for whoever has an identity token."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.asked.append((self.path, dict(self.headers)))
        assert form["grant_type"] == ["refresh_token"] and form["scope"] == ["repository:team/app:pull"]
        self.hand_out(form["refresh_token"] == ["identity"])

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


@pytest.mark.anyio
async def test_a_ticket_that_expires_in_the_middle_is_renewed(
    store: ImageStore, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "PARALLEL", 1)
    registry.auth, registry.ticket_lasts = "bearer", 2
    await images(store, registry, USER).pull(f"{registry.host}/team/app:1")
    assert registry.tickets == 3  # a manifest and five blobs, two for each ticket


@pytest.mark.anyio
async def test_tickets_that_are_never_good_end_the_pull(store: ImageStore, registry: FakeRegistry) -> None:
    registry.auth, registry.ticket_lasts = "bearer", 0
    with pytest.raises(Unauthenticated, match="'ann'"):
        await images(store, registry, USER).pull(f"{registry.host}/team/app:1")
    assert registry.tickets == 1


@pytest.mark.anyio
async def test_an_identity_token_is_changed_for_a_ticket(store: ImageStore, registry: FakeRegistry) -> None:
    registry.auth = "bearer"
    name = f"{registry.host}/team/app:1"
    with pytest.raises(Unauthenticated, match="identity token"):
        await Images(store, lambda host: Access(host=host, identity_token="stolen")).pull(name)
    await Images(store, lambda host: Access(host=host, identity_token="identity")).pull(name)


def mirrored(registry: FakeRegistry, *mirrors: str) -> Keyring:
    return lambda host: Access(host=host, mirrors=mirrors if host == "origin.invalid" else ())


@pytest.mark.anyio
async def test_mirrors_are_asked_first_and_passed_over(store: ImageStore, registry: FakeRegistry) -> None:
    """One is dead, one is good: the registry itself, which does not exist, is never asked."""
    keyring = mirrored(registry, "127.0.0.1:1", f"http://{registry.host}")
    image = await Images(store, keyring).pull("origin.invalid/team/app:1")
    assert image.names == ("origin.invalid/team/app:1",)


@pytest.mark.anyio
async def test_a_mirror_that_lies_is_passed_over_for_that_blob(
    tmp_path: Path, store: ImageStore, registry: FakeRegistry
) -> None:
    liar = FakeRegistry(registry.source, registry.source.list()[0].digest)
    liar.damaged = {layer_blobs(registry)[1]}
    thread = threading.Thread(target=liar.serve_forever, args=(0.01,))
    thread.start()
    try:
        keyring = mirrored(registry, f"http://{liar.host}", f"http://{registry.host}")
        image = await Images(store, keyring).pull("origin.invalid/team/app:1")
    finally:
        liar.shutdown()
        thread.join()
        liar.server_close()
    assert len(store.layers(image.digest)) == 4
    assert [path.rpartition("/")[2] for path, _ in registry.asked] == list(liar.damaged)


@pytest.mark.anyio
async def test_what_arrived_before_a_failure_is_not_fetched_again(
    tmp_path: Path, store: ImageStore, registry: FakeRegistry
) -> None:
    """Even after the daemon was killed, and even if the disk then lost what it had."""
    first, second, *_ = layer_blobs(registry)
    registry.cuts = {first: 10**9, second: 10**9}
    registry.ranges = True
    registry.cut_after = 1000

    def stop_soon(progress: PullProgress) -> None:
        if progress.done > 5000:
            registry.status = 500

    with pytest.raises(Unavailable):
        await images(store, registry).pull(f"{registry.host}/team/app:1", stop_soon)
    registry.status, registry.cuts = 0, {}
    again = ImageStore(store.root)
    again.open()
    kept = {path.name: path for path in again.blobs.partial.iterdir()}
    assert kept and all(path.stat().st_size for path in kept.values())
    damaged = sorted(kept)[0]
    kept[damaged].write_bytes(b"x" * 700)
    sizes = {name: path.stat().st_size for name, path in kept.items()}
    registry.asked.clear()
    image = await images(again, registry).pull(f"{registry.host}/team/app:1")
    assert len(again.layers(image.digest)) == 4 and not list(again.blobs.partial.iterdir())
    for name, size in sizes.items():
        ranges = [h.get("Range") for path, h in registry.asked if path.endswith(name)]
        assert ranges == ([f"bytes={size}-", None] if name == damaged else [f"bytes={size}-"])


@pytest.mark.anyio
async def test_policies(store: ImageStore, registry: FakeRegistry) -> None:
    name = f"{registry.host}/team/app:1"
    with pytest.raises(NotFound, match="never to be pulled"):
        await images(store, registry).pull(name, policy="never")
    assert registry.asked == []
    image = await images(store, registry).pull(name)
    asked = len(registry.asked)
    assert await images(store, registry).pull(name, policy="never") == image
    assert len(registry.asked) == asked
    assert await images(store, registry).pull(name, policy="always") == image
    assert [path for path, _ in registry.asked[asked:]] == ["/v2/team/app/manifests/1"]
    _, data = registry.manifests["1"]
    other = registry.put("1", OCI_MANIFEST, data + b" ")
    moved = await images(store, registry).pull(name, policy="always")
    assert moved.digest == other and store.get(image.digest).names == ()
    registry.status = 500
    with pytest.raises(Unavailable):
        await images(store, registry).pull(name, policy="always")


@pytest.mark.anyio
async def test_an_index_pinned_by_its_digest_is_found_again(
    tmp_path: Path, store: ImageStore, registry: FakeRegistry
) -> None:
    _, data = registry.manifests["1"]
    own = {"mediaType": OCI_MANIFEST, "digest": registry.put("1", OCI_MANIFEST, data), "size": len(data)}
    own["platform"] = {"os": "linux", "architecture": architecture()}
    index = registry.put("many", OCI_INDEX, json.dumps({"schemaVersion": 2, "manifests": [own]}).encode())
    pinned = f"{registry.host}/team/app@{index}"
    image = await images(store, registry).pull(pinned)
    assert await images(store, registry).pull(f"{registry.host}/team/app:7@{index}", policy="never") == image
    reopened = ImageStore(store.root)
    reopened.open()
    assert reopened.find(pinned) == image
    reopened.remove(pinned)
    assert reopened.list() == []


@pytest.mark.anyio
async def test_other_platforms_by_name_only(
    tmp_path: Path, store: ImageStore, registry: FakeRegistry
) -> None:
    write_archive(tmp_path / "b.tar", [Layer()], {"Cmd": ["/x"]}, "docker.io/team/s390:1", arch="s390x")
    (foreign,) = load(registry.source, tmp_path / "b.tar", unpack=False)
    data = registry.source.blobs.read(foreign.digest, 2**22)
    other = {
        "mediaType": OCI_MANIFEST,
        "digest": registry.put("foreign", OCI_MANIFEST, data),
        "size": len(data),
    }
    other["platform"] = {"os": "linux", "architecture": "s390x"}
    registry.put("many", OCI_INDEX, json.dumps({"schemaVersion": 2, "manifests": [other]}).encode())
    name = f"{registry.host}/team/app:many"
    with pytest.raises(Unsupported, match="only for linux/s390x"):
        await images(store, registry).pull(name)
    image = await images(store, registry).pull(name, platform="linux/s390x")
    assert image.arch == "s390x"
    with pytest.raises(Unsupported):  # found here, but it cannot run here
        await images(store, registry).pull(name)
    with pytest.raises(Invalid, match="platform"):
        await images(store, registry).pull(name, platform="s390x")


@pytest.mark.anyio
async def test_an_absurd_manifest_is_refused_before_anything_is_fetched(
    store: ImageStore, registry: FakeRegistry
) -> None:
    document = json.loads(registry.manifests["1"][1])
    layer = document["layers"][0]
    absurd = {
        "many": {**document, "layers": [layer] * 501},
        "huge": {**document, "layers": [{**layer, "size": 2**62}]},
        "negative": {**document, "layers": [{**layer, "size": -1}]},
        "path": {**document, "layers": [{**layer, "digest": "sha256:../../etc/passwd"}]},
        "text": {**document, "layers": "all"},
        "deep": json.loads("[" * 500 + "]" * 500),
        "md5": {**document, "config": {**document["config"], "digest": "md5:" + "0" * 32}},
    }
    store.blobs.check_room = Room(store.root).check
    for tag, manifest in absurd.items():
        registry.put(tag, OCI_MANIFEST, json.dumps(manifest).encode())
        with pytest.raises((Invalid, NoRoom)):
            await images(store, registry).pull(f"{registry.host}/team/app:{tag}")
    circle = "sha256:" + "c" * 64
    loop = {"schemaVersion": 2, "manifests": [{"mediaType": OCI_INDEX, "digest": circle, "size": 1}]}
    registry.put("loop", OCI_INDEX, json.dumps(loop).encode())
    with pytest.raises(NotFound):
        await images(store, registry).pull(f"{registry.host}/team/app:loop")
    assert not [path for path, _ in registry.asked if "/blobs/" in path] and store.list() == []


@pytest.mark.anyio
async def test_without_room_others_go_first_and_then_it_is_tried_once_more(
    store: ImageStore, registry: FakeRegistry
) -> None:
    asked: list[int] = []
    room = False

    def check(size: int) -> None:
        asked.append(size)
        if not room:
            raise NoRoom("the disk is nearly full")

    async def make_room(error: NoRoom) -> bool:
        nonlocal room
        room = len(attempts) > 0
        attempts.append(error.message)
        return room

    attempts: list[str] = []
    store.blobs.check_room = check
    pulling = images(store, registry)
    pulling.make_room = make_room
    with pytest.raises(NoRoom):
        await pulling.pull(f"{registry.host}/team/app:1")
    assert store.list() == [] and not [path for path, _ in registry.asked if "/blobs/" in path]
    assert (await pulling.pull(f"{registry.host}/team/app:1")).layers and len(attempts) == 2
