"""Debian's docker-registry as a process of our own on loopback, plain or behind TLS and a password."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from debimage import program

from hivemind.drivers.images.access import Access, Keyring, anonymous
from hivemind.drivers.images.manifest import OCI_MANIFEST
from hivemind.drivers.images.store import ImageStore

# The user "ann" with the password "sesame", as `htpasswd -B` writes it.
HTPASSWD = "ann:$2y$05$abcdefghijklmnopqrstuuKcS.CYWVYVaLiiCKrrc0A5s3mGesJ9O\n"


class Registry:
    """`inside`: the words that run a command where the registry shall be, another network namespace for example."""

    def __init__(self, folder: Path, secure: bool, inside: Sequence[str] = ()) -> None:
        self.inside = inside
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
            [
                *self.inside,
                "setpriv",
                "--pdeathsig",
                "KILL",
                binary,
                "serve",
                str(self.folder / "config.yml"),
            ],
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
def running(folder: Path, secure: bool, inside: Sequence[str] = ()) -> Iterator[Registry]:
    folder.mkdir()
    registry = Registry(folder, secure, inside)
    try:
        registry.start()
        yield registry
    finally:
        registry.kill()
